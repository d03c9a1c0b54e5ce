"""The server's settings in the world: from where each comes, what the server has, what a reload changes."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

from entrypoint import configfile, configuration, limits, log
from entrypoint.argv import parse_server
from entrypoint.configuration import Change, Running, Source
from entrypoint.effects import capacity, files, server, sessions
from entrypoint.effects.context import Context, handed_on_folder, tool_path
from entrypoint.effects.server import CONF_FOLDER
from entrypoint.errors import Failure, Problem
from entrypoint.hiding import hide_words
from entrypoint.light import NamedTuple
from entrypoint.variables import CONF_PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.finding import Finding

FORKED = "archive_mode=off"
"""On the command line of a copy that may not archive."""
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - only looked at
_TYPE = "dynamic_shared_memory_type"


def beside(context: Context) -> Context:
    """Return the context with the arguments of the running server, and who archives there.

    A command in its container does not know what was given after the image's name. Where no server runs it is
    as a start would have it.
    """
    from entrypoint.effects import charge

    words = running_arguments(context)
    if words is None:
        return charge.settle(context)
    context = charge.settled(context, own=not charge.rendered(context, words))
    arguments = parse_server(words)
    if arguments.settings.get("config_file") == rendered_path(context):
        entries, _ = configfile.parse(files.read_text(rendered_path(context)), rendered_path(context))
        base = next(entry.value for entry in entries if entry.name == "include")
        own = () if base == _own_file(context) else ("-c", f"config_file={base}")
        asked = parse_server(_without_rule(context, words)).without_config_file
        arguments = parse_server([*asked, *own])
    return context._replace(settings=context.settings._replace(server=arguments))


def _without_rule(context: Context, words: list[str]) -> list[str]:
    """Return the arguments without those that are ours, behind the rendered file's name.

    They rule a standby, and archiving of ours; a copy that may not archive keeps its archive_mode=off.
    """
    from entrypoint.effects import charge

    ours = set(charge.OPTIONS)
    if server.is_our_standby(context):
        from entrypoint.effects import standby

        ours |= standby.ruled_settings(context).options.keys()
    at = words.index(f"config_file={rendered_path(context)}") + 1
    pairs = zip(words[at::2], words[at + 1 :: 2], strict=False)
    kept = [pair for pair in pairs if pair[1] == FORKED or pair[1].partition("=")[0] not in ours]
    return [*words[:at], *(word for pair in kept for word in pair)]


def running_arguments(context: Context) -> list[str] | None:
    """Return the arguments of the server that runs on the data folder, or None."""
    found = server.live_postmaster(context.settings.data_folder)
    if found is None:
        return None
    try:
        return files.read_text(f"/proc/{found.pid}/cmdline").split("\0")[1:-1]
    except OSError:
        return None


def rendered_path(context: Context) -> str:
    """Return where the rendered configuration file lies."""
    return f"{context.runtime_folder}/postgresql.conf"


def _own_file(context: Context) -> str:
    return f"{context.settings.data_folder}/postgresql.conf"


def _read(path: str) -> list[configfile.Entry]:
    return configfile.read(path, files.read_text, os.listdir)[0]


def base(context: Context, sample: dict[str, str] | None = None) -> list[Source]:
    """Return what the cluster's own file sets, or the one that was passed in its place."""
    path = context.settings.server.settings.get("config_file") or _own_file(context)
    return configuration.of_base(_read(path), sample or {})


def overriding(context: Context) -> list[Source]:
    """Return what is stronger than the cluster's own file and the archive's settings; weakest first."""
    wanted = context.settings
    found = [
        Source(name, value, configuration.VARIABLE, CONF_PREFIX + name) for name, value in wanted.conf.items()
    ]
    folder, _ = fragments()
    found += configuration.of_files(folder, configuration.FOLDER)
    found += configuration.of_files(_read(f"{wanted.data_folder}/postgresql.auto.conf"), configuration.ALTER)
    return found + [
        Source(name, value, configuration.COMMAND, f"-c {name}")
        for name, value in wanted.server.settings.items()
        if name not in ("config_file", "data_directory")
    ]


def fragments() -> tuple[list[configfile.Entry], list[str]]:
    """Return what the files of the user's conf folder set, and what is wrong with them."""
    try:
        names = sorted(name for name in os.listdir(CONF_FOLDER) if configfile.is_fragment(name))
    except OSError:
        return [], []
    found = [configfile.read(f"{CONF_FOLDER}/{name}", files.read_text, os.listdir) for name in names]
    return [entry for entries, _ in found for entry in entries], [
        error for _, errors in found for error in errors
    ]


def machine(context: Context) -> limits.Machine:
    """Return what the container has for the server."""
    data = context.settings.data_folder
    place = next(path for path in (f"{data}/pg_wal", data, "/") if os.path.exists(path))
    room = os.statvfs(place)
    archive = context.settings.archive
    return limits.Machine(
        memory=capacity.memory(),
        limited=capacity.memory_limit() is not None,
        processors=capacity.processors(),
        wal_bytes=room.f_blocks * room.f_frsize,
        archives=archive is not None and not archive.by_user,
    )


def tuned(context: Context) -> list[Source]:
    """Return what POSTGRES_TUNE sets: what no person has set in the cluster's own file."""
    if not context.settings.tune:
        return []
    found = base(context)
    connections = configuration.winners([*found, *overriding(context)]).get("max_connections")
    count = int(connections.value) if connections and connections.value.isdigit() else limits.CONNECTIONS
    own = {source.name for source in found if source.origin == configuration.FILE}
    return [
        Source(each.name, each.value, configuration.TUNE, "POSTGRES_TUNE=auto", each.reason)
        for each in limits.tune(machine(context), max(1, count))
        if each.name not in own
    ]


def chosen(context: Context) -> list[Source]:
    """Return what the entrypoint chooses where something is rendered: weaker than what any person has set."""
    memory = shared_memory(context)
    adapted = [Source(_TYPE, memory.kind, configuration.ADAPTED, "the entrypoint", memory.words)]
    return [*tuned(context), *(adapted if memory.adapted else [])]


def write_chosen(context: Context, path: str) -> None:
    """Write the file of what is chosen, which the rendered one includes."""
    files.write_atomically(path, chosen_text(context))


def chosen_text(context: Context) -> str:
    """Return the file of what is chosen, with the reasons."""
    from entrypoint import conf

    lines = [f"{each.name} = {conf.conf_value(each.value)}  # {each.reason}\n" for each in chosen(context)]
    return "# What the entrypoint chooses for this container, at every start and SIGHUP\n" + "".join(lines)


class SharedMemory(NamedTuple):
    """The size of the folder of shared memory, and what the settings can ask for."""

    have: int
    """Bytes."""
    need: int
    """Bytes of dynamic shared memory that the settings can ask for at once."""
    kind: str
    """dynamic_shared_memory_type, as the server is to get it."""
    free: bool
    """No person has set it."""
    adapted: bool
    """It is `sysv` because /dev/shm is too small, where it is rendered."""

    @property
    def words(self) -> str:
        """Say what is too small for what."""
        have, need = limits.size(self.have), limits.size(self.need)
        return (
            f"{SHARED_MEMORY} has {have}, parallel queries and vacuum can ask for {need} with these settings"
        )

    @property
    def problem(self) -> Problem | None:
        """What is wrong, where nothing was adapted."""
        if self.adapted or self.kind != "posix" or self.have >= self.need:
            return None
        mend = f"docker run --shm-size={-(-self.need // limits.MB)}m, or -e {CONF_PREFIX}{_TYPE}=sysv"
        return Problem(
            f"{self.words}: queries would fail with “could not resize shared memory segment”", mend
        )


def shared_memory(context: Context) -> SharedMemory:
    """Return whether /dev/shm is large enough, and what the server gets where it is not.

    Docker gives 64 MB, and PostgreSQL's own defaults can ask for more: a parallel hash join then fails. The
    server gets System V shared memory instead (`dynamic_shared_memory_type = sysv`). It lies in the
    same kind of memory and is as quick, counts against the same limit of the container, needs no parallel
    worker to be given up, and no size to be guessed; its only limit is the kernel's (kernel.shmmax), which
    is none by default. `mmap` would write it all to disk. Where a person has set the type it stays.

    It is set in the cluster's own file when that is made, and in what is rendered where something is. A
    plain start on an older cluster is only warned: as an argument each reload would call the file's own
    line an error, and a config_file of ours would hide the file that people edit.
    """
    found = configuration.winners([*base(context), *tuned(context), *overriding(context)])
    need = limits.shared_memory({name: source.value for name, source in found.items()})
    chosen = found.get(_TYPE)
    kind = chosen.value.lower() if chosen else "posix"
    try:
        room = os.statvfs(SHARED_MEMORY)
        have = room.f_blocks * room.f_frsize
    except OSError:
        have = 0
    free = chosen is None or chosen.origin == configuration.IMAGE
    rendered = server.renders(context) or bool(following(context))
    adapted = rendered and free and kind == "posix" and have < need <= system_v_limit()
    return SharedMemory(have, need, "sysv" if adapted else kind, free, adapted)


def adapt(context: Context, cluster: str) -> None:
    """Give a cluster that was just made System V shared memory where /dev/shm is too small."""
    path = f"{cluster}/postgresql.conf"
    found = shared_memory(context)
    free = found.free and _TYPE not in context.settings.init.initdb_args
    text, usual = files.read_text(path), f"\n{_TYPE} = posix"
    if not free or usual not in text or not found.have < found.need <= system_v_limit():
        return
    reason = f"{configuration.OWN_COMMENT}{found.words}"
    files.write_atomically(path, text.replace(usual, f"\n{_TYPE} = sysv\t# {reason}\n#{usual[1:]}", 1))
    log.info(f"{found.words}, so the new cluster gets {_TYPE} = sysv, which has no such limit")


def planned(context: Context) -> dict[str, str]:
    """Return what each setting will have at a start, of those that anybody or POSTGRES_TUNE sets."""
    found = configuration.winners([*base(context), *tuned(context), *overriding(context)])
    return {name: source.value for name, source in found.items()}


def huge_pages(wanted: Mapping[str, str]) -> list[Finding]:
    """Return what there is to say of huge pages for a server that is to start with these settings."""
    from entrypoint.huge_pages import judge

    value = wanted.get("huge_pages", "try").lower()
    buffers = limits.size_bytes(wanted.get("shared_buffers", "128MB"), "8kB") or 0
    return judge(
        {"true": "on", "yes": "on", "1": "on"}.get(value, value),
        pages=capacity.huge_pages(),
        limit=capacity.huge_pages_limit(),
        least=-(-buffers // capacity.huge_page_bytes()),
    )


def check_huge_pages(context: Context) -> None:
    """Raise Failure where the server is to have huge pages that it cannot get."""
    bad = [each for each in huge_pages(planned(context)) if each.level == "error"]
    if bad:
        raise Failure(*(Problem(each.found, each.mend) for each in bad))


def system_v_limit() -> int:
    """Return how many bytes one segment of System V shared memory may have; 0 where nobody tells."""
    try:
        return int(files.read_text("/proc/sys/kernel/shmmax"))
    except (OSError, ValueError):
        return 0


def say(context: Context) -> None:
    """Say in the log what was chosen for the server, and what is too small for what a person has chosen."""
    found = shared_memory(context)
    if found.adapted:
        log.info(f"{found.words}, so the server gets {_TYPE} = sysv, which has no such limit")
    elif found.problem is not None:
        log.warning(found.problem.what, found.problem.mend)
    if context.settings.tune:
        log.info("POSTGRES_TUNE: " + ", ".join(f"{each.name} = {each.value}" for each in tuned(context)))


def sources(context: Context) -> list[Source]:
    """Return everything that sets a setting of the server, weakest first."""
    return [
        *base(context, _sample(context)),
        *chosen(context),
        *_entrypoints(context),
        *overriding(context),
        *_ruling(context),
    ]


def _ruling(context: Context) -> list[Source]:
    """Return what is on the command line beside what was given, as far as it hides something."""
    from entrypoint.effects import charge

    where = "on the command line, since a file or ALTER SYSTEM says otherwise"
    archives = [
        Source(name, value, configuration.ARCHIVE, where) for name, value in charge.options(context).items()
    ]
    if not server.is_our_standby(context):
        return archives
    from entrypoint.effects import standby

    said = {*following(context), *(each.name for each in [*base(context), *overriding(context)])}
    return archives + [
        Source(
            name, value, configuration.STANDBY, "on the command line, as long as this is a standby of ours"
        )
        for name, value in standby.ruled_settings(context).options.items()
        if name in said
    ]


def _entrypoints(context: Context) -> list[Source]:
    """Return what is set for the archive, and for a standby as far as it was rendered."""
    from entrypoint import conf

    archive = context.settings.archive
    found = []
    if archive is not None and not archive.by_user:
        values = conf.archive_settings(archive, server.describe(context), tool_path(context))
        found = [
            Source(name, value, configuration.ARCHIVE, archive.storage.url) for name, value in values.items()
        ]
    return found + [
        Source(name, value, configuration.STANDBY, "STANDBY_*, RESTORE_* and ARCHIVE_* variables")
        for name, value in following(context).items()
    ]


def following(context: Context) -> dict[str, str]:
    """Return the settings of a standby, where the data folder holds one or is to be one."""
    wanted = context.settings
    made = os.path.exists(f"{wanted.data_folder}/PG_VERSION")
    if os.path.exists(f"{wanted.data_folder}/standby.signal") or (wanted.standby is not None and not made):
        from entrypoint.effects import standby

        return {**_rendered_for_standby(context), **standby.values(context)}
    return {}


def _rendered_for_standby(context: Context) -> dict[str, str]:
    """Return how a standby follows by what its start has rendered: helpers are not told STANDBY_*."""
    path = rendered_path(context)
    if handed_on_folder() is None or not os.path.exists(path):
        return {}
    entries, _ = configfile.parse(files.read_text(path), path)
    names = ("primary_conninfo", "primary_slot_name")
    return {entry.name: entry.value for entry in entries if entry.name in names}


def _sample(context: Context) -> dict[str, str]:
    """Return what the image's sample file sets."""
    folder = server.folder_with(server.SAMPLE, context)
    return {entry.name: entry.value for entry in _read(f"{folder}/{server.SAMPLE}")}


_RUNNING = """
SELECT json_object_agg(name, json_build_array(
    setting, current_setting(name, true), context, source, pending_restart, coalesce(boot_val, '')))
FROM pg_settings
"""


def running(context: Context) -> dict[str, Running] | None:
    """Return what the running server says about its settings, or None where none runs; raises Failure."""
    if server.live_postmaster(context.settings.data_folder) is None:
        return None
    found = sessions.query_json(context, _RUNNING, dict)
    return {name.lower(): Running(*row) for name, row in found.items()}


def changes(context: Context, found: Sequence[Source], known: dict[str, Running]) -> list[Change]:
    """Return what a start now would change against the running server, without secrets."""
    wanted = configuration.winners(found)
    names = configuration.doubtful(wanted, known)
    plain = _plain(context, wanted, names)
    return [each.hidden() for each in configuration.changes(wanted, known, plain)]


def _plain(context: Context, wanted: dict[str, Source], names: Sequence[str]) -> dict[str, str]:
    """Return values as the server's binary writes them, so that 1GB and 1048576kB are the same."""
    plain = {}
    with server.ScratchFolder(context) as scratch:
        for name in names:
            _write_settings(
                f"{scratch}/postgresql.conf", [wanted[name]]
            )  # on no command line, which ps shows
            code, text = server.ask(context, name, [], scratch)
            if code == 0 and text:
                plain[name] = text.splitlines()[-1]
    return plain


def explain(context: Context, found: Sequence[Source], errors: Sequence[str]) -> list[Problem]:
    """Return all that the server's own binary has against these settings, each where it was set.

    The binary stops at unknown names before it judges values, so it is asked again without what is known to
    be wrong. `errors` are lines of files that set nothing.
    """
    problems = [Problem(error, "correct or remove this line") for error in errors]
    rest = [source for source in found if source.name not in ("config_file", "data_directory")]
    names: list[str] = []
    with server.ScratchFolder(context) as scratch:
        while True:
            _write_settings(f"{scratch}/postgresql.conf", rest)
            code, text = server.ask(context, "port", [], scratch)
            said = {complaint.name: complaint for complaint in configuration.complaints(text)}
            bad = [each for each in configuration.winners(rest).values() if each.name in said]
            if code == 0 or not bad:
                return problems
            names = names or _known_names(context)
            problems += [configuration.problem(source, said[source.name], names) for source in bad]
            rest = [source for source in rest if source not in bad]


def _write_settings(path: str, found: Sequence[Source]) -> None:
    from entrypoint import conf

    text = "".join(f"{source.name} = {conf.conf_value(source.value)}\n" for source in found)
    files.write_atomically(path, text, 0o644)


def _known_names(context: Context) -> list[str]:
    _, text = context.children.output(["postgres", "--describe-config"], context.environment)
    return [line.partition("\t")[0] for line in text.splitlines()]


def reload(context: Context) -> None:
    """Look at what has changed, and let the server read its files again if all of it is right.

    Raises Failure with everything that is wrong; the server then goes on with what it has.
    """
    words = running_arguments(context)
    found = server.live_postmaster(context.settings.data_folder)
    if words is None or found is None:
        raise Failure(Problem("no server runs that could reload", "start one"))
    context = beside(context)
    write_chosen(context, f"{context.runtime_folder}/{server.CHOSEN_FILE}")
    wanted = sources(context)
    code, text = server.ask(context, "port", words, context.settings.data_folder)
    if code:
        shown = hide_words(text, ((source.name, source.value) for source in wanted))
        problems = explain(context, wanted, fragments()[1]) or [
            Problem(f"the server does not accept its files:\n{shown}", "correct the line that it names")
        ]
        raise Failure(
            *problems,
            Problem("nothing was reloaded; the server keeps its settings", "then send SIGHUP again"),
        )
    try:
        differences = changes(context, wanted, running(context) or {})
    except Failure:
        os.kill(found.pid, signal.SIGHUP)
        log.info("reloaded; the server takes no sessions now, so it cannot be told what changes")
        return
    os.kill(found.pid, signal.SIGHUP)
    for each in differences:
        log.info(describe(each))
    log.info(f"reloaded; {count(differences)}")
    from entrypoint.effects import charge

    charge.notice(context)


def describe(change: Change) -> str:
    """Return a change in one line."""
    later = ", needs a restart" if change.restart else ""
    return f"{change.name}: {change.old or '(empty)'} → {change.new or '(empty)'}{later} ({change.where})"


def count(found: Sequence[Change]) -> str:
    """Return how many settings differ, and how many of them wait for a restart."""
    if not found:
        return "no setting changes"
    waiting = sum(change.restart for change in found)
    text = f"{len(found)} setting{'s' if len(found) > 1 else ''} change{'' if len(found) > 1 else 's'}"
    return f"{text}, {waiting} of them at the next restart" if waiting else text
