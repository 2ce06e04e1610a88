"""What the messages travel in, and the unions of all of them."""

from __future__ import annotations

from penstock.control.messages.base import Done, Message
from penstock.control.messages.daemon import CheckCluster, DaemonReply, DaemonRequest, ReadLog
from penstock.control.messages.job import JobReply, JobRequest, LogChunk, Logs
from penstock.control.messages.life_cycle import LifeCycleReply, LifeCycleRequest
from penstock.control.messages.result import ResultReply, ResultRequest
from penstock.control.messages.submission import SubmissionReply, SubmissionRequest
from penstock.control.messages.workflow import Lagged, Watch, WorkflowReply, WorkflowRequest
from penstock.domain.log_line import LogLine
from penstock.domain.views import EventInfo, Finding

AnyRequest = DaemonRequest | SubmissionRequest | WorkflowRequest | JobRequest | ResultRequest | LifeCycleRequest
AnyReply = DaemonReply | SubmissionReply | WorkflowReply | JobReply | ResultReply | LifeCycleReply | Done
AnyItem = EventInfo | LogChunk | LogLine | Lagged | Finding
StreamRequest = Watch | Logs | ReadLog | CheckCluster


class Hello(Message, frozen=True):
    """First frame of a client."""

    oldest: int  # protocol versions the client can speak
    newest: int
    client: str


class Welcome(Message, frozen=True):
    """The daemon's answer: the version both will speak."""

    protocol: int
    daemon: str
    pid: int


class Call(Message, frozen=True):
    """A request; `id` is the client's own number for it, repeated in every answer."""

    id: int
    request: AnyRequest


class Reply(Message, frozen=True):
    """The one answer to a call."""

    id: int
    body: AnyReply


class Item(Message, frozen=True):
    """One element of a stream."""

    id: int
    body: AnyItem


class Fail(Message, frozen=True):
    """A call that failed (id 0: the connection itself). `code` is one of the codes in `penstock.domain.errors`."""

    id: int
    code: str
    message: str
    file: str | None = None
    line: int | None = None
    key: str | None = None


ClientFrame = Hello | Call
DaemonFrame = Welcome | Reply | Item | Done | Fail
