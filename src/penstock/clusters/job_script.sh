# Everything of ours is called pk_*, lest a variable that the program finds in its environment be changed. Signals are
# acted upon by their handlers, at once: a flag set just before `wait` would be seen too late. While no program runs
# (pk_child is empty) they only leave a note; above all they start no process then, which would spoil $!.
# Times are in 1/100 s since the epoch.

pk_home=$pk_spool/$pk_ulid
pk_newline='
'
pk_clock=/proc/uptime
pk_base=0
pk_has_clock=
pk_detach=
pk_patience=120
pk_child= pk_hook= pk_alarm_pid= pk_ended= pk_warned= pk_interrupted= pk_phase= pk_position= pk_verdict= pk_carry=
pk_alarmed= pk_looked= pk_busy= pk_again=
pk_calls=0 pk_begun= pk_status=0

# ---- time, without a fork ----

pk_now() {
    if [ -z "$pk_has_clock" ]; then
        pk_now=$(date +%s)00
        return
    fi
    read -r pk_uptime pk_rest <"$pk_clock"
    pk_whole=${pk_uptime%%.*}
    pk_part=${pk_uptime#"$pk_whole"}
    pk_part=${pk_part#.}00
    pk_part=${pk_part%"${pk_part#??}"}
    while :; do # 08 would be octal
        case $pk_whole in
        0?*) pk_whole=${pk_whole#0} ;;
        *) break ;;
        esac
    done
    pk_now=$((pk_base + pk_whole * 100 + 1$pk_part - 100))
}

pk_set_clock() {
    pk_epoch=$(date +%s)
    if read -r pk_uptime pk_rest 2>/dev/null <"$pk_clock"; then
        case $pk_uptime in
        '' | .* | *[!0-9.]* | *.*.*) ;;
        *)
            pk_has_clock=1
            pk_now
            pk_base=$((${pk_epoch}00 - pk_now))
            ;;
        esac
    fi
    pk_now=${pk_epoch}00
    pk_ends=$((pk_now + pk_allocation * 100))
}

# ---- the journal ----

pk_time() { pk_time=${1%??}.${1#"${1%??}"}; }

pk_hint() { printf '' 2>/dev/null >"$pk_hint"; }

pk_record() { # what happened must not be forgotten: a disk that refuses it is waited for
    pk_tries=0
    until printf '%s%s\n' "$pk_prefix" "$1" 2>/dev/null >>"$pk_journal"; do
        pk_prefix=$pk_newline$pk_prefix # the line may be torn
        pk_tries=$((pk_tries + 1))
        pk_now
        if [ "$pk_now" -ge "$pk_ends" ] || { [ "$pk_tries" -ge 30 ] && pk_is_forgotten; }; then
            printf 'penstock: %s cannot be written: %s\n' "$pk_journal" "$1" >&2
            pk_exit 75
        fi
        sleep 1
    done
    pk_prefix=
    pk_hint
}

pk_is_forgotten() { [ ! -d "$pk_home" ] && [ -d "$pk_spool/news" ]; }

pk_escape() { # as a JSON string; what is not ASCII is not worth a line that cannot be read
    pk_escaped=$(printf '%s' "$1" | LC_ALL=C tr '\n' ' ' | LC_ALL=C sed 's/[^ -~]/?/g; s/[\\"]/\\&/g')
    pk_escaped="\"$pk_escaped\""
}

# ---- signals ----

# the group, or what is no group's leader; `kill -s X -PID` is no option in dash, `--` none in busybox
pk_kill() { kill "-$1" "-$2" 2>/dev/null || kill "-$1" "$2" 2>/dev/null; }

# What handlers start is no job of this shell, but of a subshell that is gone at once: bash would speak of its end, and
# forget over it how the program ended.

pk_alarm() { # ALRM to this shell in $1 seconds, in place of any other alarm
    pk_call_off
    pk_alarm_pid=$( # KILL, since TERM is lost on a child that is not yet `sleep`
        $pk_detach sh -c 'trap "kill -KILL \$!; exit" TERM; sleep "$1" & wait "$!"; kill -s ALRM "$2"' sh "$1" "$$" \
            </dev/null >/dev/null 2>&1 &
        echo "$!"
    )
}

pk_call_off() {
    [ -n "$pk_alarm_pid" ] || return 0
    if [ -n "$pk_detach" ]; then
        pk_kill KILL "$pk_alarm_pid"
    else
        pk_kill TERM "$pk_alarm_pid"
    fi
    pk_alarm_pid=
}

pk_stop() { # TERM to the program, and KILL after the grace; $1 verdict, $2 message
    pk_phase=term
    pk_verdict=$1 pk_message=$2
    [ -z "$pk_hook" ] || pk_kill KILL "$pk_hook"
    pk_kill TERM "$pk_child"
    pk_alarm "$pk_grace"
}

pk_look() { # is the program's time over, or is it cancelled?
    if [ -e "$pk_home/cancel.$pk_position" ]; then
        pk_stop cancelled ''
        return
    fi
    pk_now
    pk_left=$(((pk_deadline - pk_now + 99) / 100))
    pk_most=60
    [ -z "$pk_is_look" ] || pk_most=5 # bash loses a signal that comes while the same one is handled
    if [ "$pk_left" -gt "$pk_most" ]; then
        pk_alarm "$pk_most"
    elif [ "$pk_left" -gt 0 ]; then
        pk_alarm "$pk_left"
    elif [ -z "$pk_checkpoint" ]; then
        pk_stop timeout ''
    else
        pk_phase=hook
        pk_left=$(((pk_ends - pk_now) / 100 - pk_grace - 2))
        [ "$pk_left" -gt 0 ] || pk_left=1
        pk_alarm "$pk_left"
        PENSTOCK_PID=$pk_child
        export PENSTOCK_PID
        pk_hook=$(
            pk_run_checkpoint $pk_detach sh -c '"$@"; kill -s ALRM "$0"' "$$" </dev/null >&2 &
            echo "$!"
        )
    fi
}

pk_judge() { # the scheduler ends the job: why?
    pk_now
    if [ -e "$pk_home/cancel.$pk_position" ]; then
        pk_verdict=cancelled pk_message=
    elif [ "$pk_now" -ge "$pk_deadline" ]; then
        pk_verdict=timeout pk_message=
    else
        pk_verdict=lost pk_message='ended by the scheduler (SIGTERM)'
    fi
}

pk_react() { # to what the handlers noted; a program that has ended is left to `wait`
    pk_is_time=$pk_alarmed pk_is_look=$pk_looked pk_alarmed= pk_looked= pk_again=
    [ -n "$pk_child" ] && kill -0 "$pk_child" 2>/dev/null || return 0
    case $pk_phase in
    '' | hook)
        if [ -n "$pk_ended" ]; then
            pk_judge
            pk_stop "$pk_verdict" "$pk_message"
        elif [ -z "$pk_phase" ] && [ -n "$pk_is_time$pk_is_look" ]; then
            pk_look
        elif [ -n "$pk_is_time" ]; then
            pk_stop timeout ''
        fi
        ;;
    *)
        if [ -n "$pk_is_time" ]; then
            pk_kill KILL "$pk_child"
            pk_alarm 5
        fi
        ;;
    esac
}

pk_act() { # one at a time: signals come while others are being handled
    pk_interrupted=1 pk_again=1
    while [ -n "$pk_again" ] && [ -z "$pk_busy" ]; do
        pk_busy=1
        pk_react
        pk_busy=
    done
}

pk_on_term() {
    pk_ended=1
    pk_act
}

pk_on_usr1() {
    pk_warned=1
    pk_on_usr2
}

pk_on_usr2() {
    pk_looked=1
    pk_act
}

pk_on_alarm() {
    [ "$pk_phase" = hook ] || pk_alarm_pid= # there it was the hook's end, and the alarm is still to come
    pk_alarmed=1
    pk_act
}

pk_trap() {
    trap pk_on_term TERM
    trap pk_on_usr1 USR1
    trap pk_on_usr2 USR2
    trap pk_on_alarm ALRM
}

pk_exit() {
    trap '' TERM USR1 USR2 ALRM
    pk_call_off
    exit "$1"
}

# ---- attempts ----

carry() { # DIRECTORY [NAME-THERE NAME-HERE]...: for the next attempt
    pk_carry_from=$1
    shift
    pk_carry=$*
}

attempt() { # POSITION JOB_ID DIRECTORY ARG...
    pk_calls=$((pk_calls + 1))
    [ -z "$pk_ended" ] || pk_exit 143
    pk_carried=$pk_carry pk_carry=
    [ ! -e "$pk_home/cancel.$1" ] || return 0
    pk_now
    [ -z "$pk_begun" ] || [ $((pk_now + pk_walltime * 100)) -le "$pk_ends" ] || return 0
    pk_begun=$pk_now
    pk_deadline=$((pk_now + pk_walltime * 100))
    pk_latest=$((pk_ends - pk_grace * 100 - 500))
    [ "$pk_deadline" -le "$pk_latest" ] || pk_deadline=$pk_latest
    pk_time "$pk_begun"
    pk_position=$1 pk_phase= pk_verdict= pk_message= pk_hook= pk_code=null pk_signal=null
    export PENSTOCK_JOB_ID="$2" PENSTOCK_ATTEMPT_DIR="$3"
    shift 3
    pk_record "[\"start\",$pk_position,$pk_time]"
    if [ -n "$pk_ended" ]; then
        pk_judge
        pk_status=143
    elif pk_check "$@"; then
        pk_run "$@"
    else
        pk_status=$?
    fi
    pk_end
}

pk_check() { # enters the attempt's directory; what can be known to fail is told in words
    if ! cd "$PENSTOCK_ATTEMPT_DIR" 2>/dev/null; then
        pk_message="[Errno 2] cannot enter the attempt's directory: $PENSTOCK_ATTEMPT_DIR"
        return 1
    fi
    if ! { printf '' >stdout && printf '' >stderr; } 2>/dev/null; then
        pk_message=$({ printf '' >stdout && printf '' >stderr; } 2>&1)
        return 1
    fi
    pk_from=
    for pk_name in $pk_carried; do # their names have no blanks
        if [ -z "$pk_from" ]; then
            pk_from=$pk_carry_from/$pk_name
            continue
        fi
        if [ -f "$pk_from" ] && [ ! -L "$pk_from" ] && [ ! -e "$pk_name" ] && [ ! -L "$pk_name" ]; then
            pk_message=$(cp -- "$pk_from" "$pk_name" 2>&1) || return 1
        fi
        pk_from=
    done
    case $1 in
    */*)
        if [ ! -e "$1" ]; then
            pk_code=127 pk_message="$1: no such program"
            return 127
        elif [ -d "$1" ] || [ ! -x "$1" ]; then
            pk_code=126 pk_message="$1: not a program that may be run"
            return 126
        fi
        ;;
    *)
        if ! command -v "$1" >/dev/null 2>&1; then
            pk_code=127 pk_message="$1: no such program"
            return 127
        fi
        ;;
    esac
}

pk_run() {
    if [ -n "$pk_timer$pk_warned" ] && [ -z "$pk_alarm_pid" ]; then
        pk_alarm "$((pk_walltime < 60 ? pk_walltime : 60))"
    fi
    pk_launch "$@" </dev/null >stdout 2>stderr &
    pk_child=$!
    [ -z "$pk_ended" ] || pk_act
    pk_wait
    pk_pid=$pk_child
    pk_child=
    [ -z "$pk_detach" ] || kill -KILL "-$pk_pid" 2>/dev/null # what the program left running in its group
    [ -z "$pk_hook" ] || pk_kill KILL "$pk_hook"
    if [ "$pk_status" -eq 143 ] && [ -z "$pk_verdict$pk_ended" ]; then
        sleep 1 # whoever sent TERM to the program may be sending it to us
    fi
    if [ -z "$pk_verdict" ] && { [ -n "$pk_ended" ] || [ -e "$pk_home/cancel.$pk_position" ]; }; then
        pk_judge # whatever its exit code: a program goes on when only its child has got the signal
    fi
    if [ "$pk_status" -gt 128 ] && [ "$pk_status" -lt 193 ]; then
        pk_signal=$((pk_status - 128)) # or an exit code above 128, which no shell can tell from a signal
    else
        pk_code=$pk_status
    fi
}

pk_wait() { # for the program to end: pk_status
    pk_told= # what a `wait` that a signal interrupted told, where the program had ended by then
    while :; do
        pk_interrupted=
        wait "$pk_child" 2>/dev/null
        pk_status=$?
        if [ "$pk_status" -eq 127 ] && [ -n "$pk_told" ]; then
            pk_status=$pk_told # that was it: no shell tells it twice
            case $(kill -l "$pk_status" 2>/dev/null) in
            *USR1 | *USR2 | *ALRM) [ -z "$pk_verdict" ] || pk_status=143 ;; # bash told of our signal and forgot the end
            esac
            break
        fi
        # bash may tell of a signal whose handler ran before, so what looks like one is asked for twice
        [ -n "$pk_interrupted" ] || [ "$pk_status" -gt 128 ] || break
        [ -n "$pk_interrupted" ] || [ "$pk_status" != "$pk_told" ] || break
        pk_told=
        kill -0 "$pk_child" 2>/dev/null || pk_told=$pk_status
    done
    [ "$pk_status" -ge 0 ] || pk_status=143 # bash, when TERM meets it at the very end
}

pk_end() {
    [ -z "$pk_ended" ] || [ -n "$pk_verdict" ] || pk_judge
    pk_now
    pk_time "$pk_begun"
    pk_line="[\"end\",$pk_position,[$pk_code,$pk_signal,$pk_time"
    pk_time "$pk_now"
    pk_line=$pk_line,$pk_time,${pk_verdict:+\"}${pk_verdict:-null}${pk_verdict:+\"}
    pk_escaped=null
    [ -z "$pk_message" ] || pk_escape "$pk_message"
    pk_record "$pk_line,$pk_escaped]]"
    pk_position=
}

# ---- the task ----

pk_claim() {
    pk_tries=0
    until ln -s "$pk_token" "$pk_home/claim.$pk_task"; do
        pk_holder=$(readlink "$pk_home/claim.$pk_task" 2>/dev/null)
        [ "$pk_holder" != "$pk_token" ] || return 0 # over NFS a winner may be told that it lost
        if [ -n "$pk_holder" ]; then
            printf 'penstock: task %s belongs to %s; nothing is done twice\n' "$pk_task" "$pk_holder" >&2
            printf '' 2>/dev/null >"$pk_home/duplicate.$pk_token"
            pk_hint
            pk_exit 0
        fi
        ! pk_is_forgotten || pk_exit 0
        pk_wait_for "$pk_home cannot be written"
    done
}

pk_wait_for() { # a second's patience with the file system; $1 what is wrong
    pk_tries=$((pk_tries + 1))
    [ -z "$pk_ended" ] || pk_exit 143
    if [ "$pk_tries" -ge "$pk_patience" ]; then
        printf 'penstock: %s\n' "$1" >&2
        pk_exit 75
    fi
    sleep 1
}

pk_name() { # who we are, as one word
    pk_host=
    read -r pk_host 2>/dev/null </proc/sys/kernel/hostname || pk_host=$(uname -n)
    case $pk_host in
    '' | *[!A-Za-z0-9._-]*) pk_host=unknown ;;
    esac
    pk_prefix="[\"host\",\"$pk_host\"]$pk_newline"
    pk_token=$pk_job:$pk_restarts:$pk_host
    while :; do
        case $pk_token in
        */*) pk_token=${pk_token%%/*}_${pk_token#*/} ;;
        *) break ;;
        esac
    done
}

pk_work() {
    pk_tries=0
    until [ -r "$pk_home/run.$pk_task" ]; do
        pk_wait_for "$pk_home/run.$pk_task cannot be read"
    done
    . "$pk_home/run.$pk_task"
    [ -z "$pk_ended" ] || pk_exit 143
    pk_record '["finish"]'
    [ "$pk_calls" -eq 1 ] || pk_status=0
    pk_exit "$pk_status"
}

pk_hand_over() { # to a warm runner, which takes this shell's place and so gets its signals
    pk_journal=$pk_home/$pk_ulid.journal pk_hint=$pk_spool/news/$pk_ulid.w
    pk_line=${pk_prefix%"$pk_newline"} pk_prefix=
    pk_record "$pk_line"
    pk_now
    pk_left=$(((pk_ends - pk_now) / 100))
    [ -z "$pk_ended" ] || pk_exit 143
    trap '' USR1 USR2
    exec "$pk_python" -m penstock.clusters.runner --spool "$pk_home" --engine "$pk_engine" --linger 0 \
        --news "$pk_spool/news" --allocation "$pk_left" <<END
$pk_ulid
END
}

pk_main() {
    pk_trap
    case $pk_task in
    '' | *[!0-9]*)
        printf 'penstock: %s is no task index\n' "$pk_task" >&2
        exit 64
        ;;
    esac
    ! pk_is_forgotten || exit 0
    pk_journal=$pk_home/journal.$pk_task pk_hint=$pk_spool/news/$pk_ulid.$pk_task
    pk_set_clock
    pk_name
    pk_claim
    trap 'printf "penstock: the setup of this cluster or workflow has ended the script\n" >&2' EXIT
    pk_is_set_up=
    eval "$pk_setup${pk_newline}pk_is_set_up=1"
    if [ -z "$pk_is_set_up" ]; then
        printf 'penstock: the setup of this cluster or workflow is no shell script\n' >&2
        pk_exit 78
    fi
    trap - EXIT
    set +efuC
    unset IFS
    pk_trap
    ! command -v setsid >/dev/null 2>&1 || pk_detach=setsid
    if [ -n "$pk_engine" ]; then
        pk_hand_over
    fi
    pk_work
}

pk_main
