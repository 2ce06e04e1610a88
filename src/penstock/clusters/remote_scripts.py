"""The shell side of `remote_spool`: what runs on the cluster's login node, for any POSIX sh.

Each script prints its answer between two marks, since a login may print a banner before it and a connection may break
in the middle. Trouble is an exit code other than 0 with words on stderr. Arguments come as "$1"..., never in the text.
"""

from __future__ import annotations

from typing import Final

BEGIN: Final = b"penstock-answer-begins\n"
END: Final = b"\npenstock-answer-ends "

_COMMON: Final = r"""
umask 077
begin() { printf 'penstock-answer-begins\n'; }
end() { printf '\npenstock-answer-ends %s\n' "${1:-0}"; }
die() { printf 'penstock: %s\n' "$1" >&2; exit 73; }
enter() { [ -f "$1/.spool" ] && cd "$1" || die "$1 is no spool, or cannot be entered"; }
is_ulid() {
    case $1 in
    *[!0-9A-Z]*) return 1 ;;
    ??????????????????????????) ;;
    *) return 1 ;;
    esac
}
"""

PREPARE: Final = (
    _COMMON
    + r"""
cd && mkdir -p -- "$1" && cd -- "$1" && chmod 700 . && mkdir -p news || die "$1 cannot be made"
printf 'A spool of Penstock.\n' >.spool.$$ && mv -f .spool.$$ .spool || die "$1 cannot be written"
rm -rf .gone.*
spool=$(pwd) now=$(date +%s) host=$(uname -n)
begin
printf '%s\n' "$spool" "$HOME" "$host" "$now"
end
"""
)

SUBMIT: Final = (
    "mask=$(umask)"  # the job's, too
    + _COMMON
    + r"""
trap '' HUP PIPE
enter "$1"
cd "$2" || die "$1/$2 is missing"
count=$3
shift 3
while [ "$count" -gt 0 ]; do
    export "$1"
    shift
    count=$((count - 1))
done
show() {
    while IFS= read -r line || [ -n "$line" ]; do printf '%s%s\n' "$1" "$line"; done <"$2"
}
tell() { # what came of a submission that came before us
    begin
    if [ -f jobid ]; then
        printf 'exit 0\n'
        show 1 jobid
    elif [ -f refused ]; then
        show '' refused
    else
        printf 'begun\n'
    fi
    end
    exit 0
}
set -C
if ! printf '' >submitting; then
    [ ! -e submitting ] || tell
    die "submitting cannot be written"
fi
set +C
(umask "$mask" && exec "$@") </dev/null >jobid.partial 2>stderr.partial
code=$?
if [ "$code" -eq 0 ]; then
    mv jobid.partial jobid
    begin
    printf 'exit 0\n'
    show 1 jobid
    show 2 stderr.partial
else
    { printf 'exit %s\n' "$code" && show 1 jobid.partial && show 2 stderr.partial; } >refused.partial &&
        mv refused.partial refused
    begin
    printf 'exit %s\n' "$code"
    show 1 jobid.partial
    show 2 stderr.partial
fi
end
"""
)

TAKE_NEWS: Final = (
    _COMMON
    + r"""
enter "$1"
[ -r news ] && [ -w news ] && [ -x news ] || die "$1/news cannot be read"
left=$2
flush() { # a hint goes before its journal is read, or what is written in between would be missed
    [ -n "$hints" ] || return 0
    rm -f $hints
    for file in $files; do
        printf '%s\n' "$file"
    done
    hints= files= some=0
}
list() {
    hints= files= some=0
    printf '.spool\n'
    for hint in news/*; do
        [ "$left" -gt 0 ] || break
        name=${hint#news/}
        ulid=${name%%.*}
        task=${name#*.}
        is_ulid "$ulid" || continue
        case $task in
        w) file=$ulid/$ulid.journal ;;
        '' | *[!0-9]*) continue ;;
        *) file=$ulid/journal.$task ;;
        esac
        [ ! -f "$file" ] || files="$files $file"
        hints="$hints $hint"
        left=$((left - 1)) some=$((some + 1))
        [ "$some" -lt 100 ] || flush
    done
    flush
}
set -- news/*
begin
if [ "$#" -eq 1 ] && [ ! -e "$1" ]; then
    end
    exit 0
fi
LC_ALL=C
export LC_ALL
list | tar -cf - -T -
end "$?"
"""
)

READ: Final = (
    _COMMON
    + r"""
enter "$1"
[ -r . ] && [ -x . ] || die "$1 cannot be read"
LC_ALL=C
export LC_ALL
ulids=$(cat)
begin
for ulid in $ulids; do
    is_ulid "$ulid" || die "$ulid is no ulid"
    if [ -d "$ulid" ]; then
        [ -r "$ulid" ] && [ -x "$ulid" ] || die "$1/$ulid cannot be read"
        printf '+%s\n' "$ulid"
    else
        printf -- '-%s\n' "$ulid"
    fi
done
printf '\n'
{
    printf '.spool\n'
    for ulid in $ulids; do
        for said in "$ulid"/slurm-*.out; do # what the scheduler or the set-up had to say, mostly nothing
            task=${said##*/slurm-}
            [ ! -s "$said" ] || tail -c 1000 "$said" >"$ulid/words.${task%.out}" || :
        done
        for file in "$ulid"/words.* "$ulid"/claim.* "$ulid"/journal.* "$ulid"/submitting "$ulid"/jobid "$ulid"/refused \
            "$ulid"/duplicate.* "$ulid/$ulid.claim" "$ulid/$ulid.journal"; do
            if [ -f "$file" ] || [ -L "$file" ]; then
                printf '%s\n' "$file"
            fi
        done
    done
} | tar -cf - -T -
end "$?"
"""
)

BURY: Final = (
    _COMMON
    + r"""
enter "$1"
mkdir -p "$2" && cd "$2" || die "$1/$2 cannot be made"
shift 2
for claim in "$@"; do
    [ -L "$claim" ] || ln -s tombstone "$claim" || [ -L "$claim" ] || die "$claim cannot be written"
done
begin
printf '%s\n' "$@" | tar -cf - -T -
end "$?"
"""
)

CANCEL: Final = (
    _COMMON
    + r"""
enter "$1"
ulid=$2 warm=$3
shift 3
begin
if cd "$ulid" 2>/dev/null; then
    for position in "$@"; do
        printf '' >"cancel.$position" || die "cancel.$position cannot be written"
    done
    if [ "$warm" -eq 1 ]; then
        all=
        for mark in cancel.*; do
            [ ! -e "$mark" ] || all=$all${all:+,}${mark#cancel.}
        done
        printf '[%s]' "$all" >"$ulid.partial" && mv "$ulid.partial" "$ulid.cancel" ||
            die "$ulid.cancel cannot be written"
    fi
fi
end
"""
)

FORGET: Final = (
    _COMMON
    + r"""
enter "$1"
ulids=$(cat)
for ulid in $ulids; do
    is_ulid "$ulid" || die "$ulid is no ulid"
done
gone=.gone.$$
mkdir "$gone" || die "$1 cannot be written"
flush() { # out of sight at once: a late job must not find some of it
    [ -z "$some" ] || mv $some "$gone" || die "$1/$some cannot be moved"
    some=
}
count=0 some=
for ulid in $ulids; do
    for found in "$ulid" "news/$ulid".*; do
        [ ! -e "$found" ] || some="$some $found" count=$((count + 1))
        [ "$count" -lt 100 ] || { flush; count=0; }
    done
done
flush
rm -rf "$gone" || die "$1/$gone cannot be removed"
begin
end
"""
)

INVENTORY: Final = (
    _COMMON
    + r"""
enter "$1"
[ -r . ] || die "$1 cannot be read"
begin
for ulid in *; do
    ! is_ulid "$ulid" || printf '%s\n' "$ulid"
done
end
"""
)
