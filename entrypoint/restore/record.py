"""The record of a recovery that has started, with which it continues after an interruption; pure."""

from __future__ import annotations

from entrypoint.light import NamedTuple
from entrypoint.postgres import segments
from entrypoint.settings.restoring import Request, described
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.restore.choose import Choice
    from entrypoint.settings.restoring import Kind


def record(choice: Choice, request: Request) -> str:
    """Return one line with what was chosen, and for which request."""
    import json

    return json.dumps(
        {
            "backup": choice.backup.name,
            "timeline": choice.timeline,
            "kind": choice.kind,
            "value": choice.value,
            "inclusive": choice.inclusive,
            "segments": choice.segments,
            "last_segment": choice.last_segment,
            "asked": _asked(request),
        }
    )


class Recorded(NamedTuple):
    """What a restore that has started was started for."""

    backup: str
    timeline: int | None = None
    kind: Kind = ""
    value: str = ""
    inclusive: bool = True
    segments: int = 0
    asked: str = ""
    last_segment: str = ""
    """The newest segment in the archive when the restore started; empty if that is not known."""

    def is_for(self, request: Request) -> bool:
        """Return whether this is still what the user requests; the action may have changed."""
        return not self.asked or self.asked == _asked(request)

    @property
    def request(self) -> Request:
        """The restore that was started, with the backup that was chosen."""
        return Request(self.backup, self.kind, self.value, self.inclusive, str(self.timeline or "latest"))

    @property
    def words(self) -> str:
        """The target, for people."""
        return described(self.kind, self.value)

    @property
    def options(self) -> dict[str, str]:
        """The server's settings for this recovery."""
        made = {"recovery_target_timeline": str(self.timeline or "latest")}
        if self.kind == "immediate":
            return {**made, "recovery_target": "immediate"}
        if self.kind:
            made[f"recovery_target_{self.kind}"] = self.value
            made["recovery_target_inclusive"] = "on" if self.inclusive else "off"
        return made

    @property
    def proof(self) -> str:
        """What shims/fetch-segment calls PROOF: nothing is promoted before the archive's end has been read.

        If there is a target and PostgreSQL does not reach it, PostgreSQL itself ends without a promotion.

        >>> Recorded("base_1", 2, last_segment="000000020000000000000007").proof
        '00000003.history/0000000000000007'
        """
        if self.kind or self.timeline is None or not self.last_segment:
            return ""
        return segments.proof(self.timeline, self.last_segment)


def recorded(detail: str) -> Recorded:
    """Return what `record` has written; before there were targets, that was only the backup's name."""
    try:
        with guest.Reading("the record"):
            found: Recorded = guest.typed(Recorded(**guest.parse_json(detail)))
            return found
    except ValueError:
        return Recorded(detail)


def _asked(request: Request) -> str:
    import json

    return json.dumps(request[:5])  # everything but the action
