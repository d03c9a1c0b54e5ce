"""Check of messages and pings."""

from entrypoint.doctor import judge
from entrypoint.doctor.sight import CLUSTER, Check, Sight
from entrypoint.finding import Finding
from entrypoint.notify import notifier, pings, targets


def _notifications(sight: Sight) -> list[Finding]:
    wanted = sight.settings.watching
    box = notifier.read(sight.data_folder)
    # The addresses are secrets: this process may not know them.
    known = {} if wanted is None else {name: url for name, url in pings.addresses(wanted).items() if url}
    if not (known or box.failing or box.dropped or (wanted is not None and wanted.urls)):
        return []
    return judge.notifying.notifications(box, {name: targets.name(url) for name, url in known.items()})


CHECKS = (
    Check(
        "notifications",
        "if messages reach nobody, nobody hears of anything else",
        "the queue of messages in the data folder; nothing is sent",
        _notifications,
        CLUSTER,
        "get-notified",
    ),
)
