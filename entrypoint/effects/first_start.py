"""A first start: the cluster, pg_hba.conf, the user's database and init files; all or nothing."""

from __future__ import annotations

import os

from entrypoint import exits, log, sql
from entrypoint.effects import files, notes, probe, script, server, sessions, temporary
from entrypoint.effects.children import memory_file, read_back
from entrypoint.effects.context import Context, at_port, server_environment, with_password
from entrypoint.effects.unfinished import Unfinished
from entrypoint.environment import unpack
from entrypoint.errors import Ended, Failure, Problem, Stopped
from entrypoint.light import re
from entrypoint.settings import AUTH_METHODS, PLAIN_METHODS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.effects.template import Template


_FILES = """\
source "$1"
_entrypoint_folder=$2 _entrypoint_state=$3 _entrypoint_done=$4
set --
docker_process_init_files "$_entrypoint_folder"/*
command env -0 >&"$_entrypoint_done"
"""
"""The one shell of all init files, or start files; it ends by handing its exported variables over.

The functions are the image's own, whatever stands in the place of docker-entrypoint.sh.
"""
_BEGUN = "file "
"""Before the name of each file that begins; all of them come before the variables, and end as those do."""


def say_complete() -> None:
    """Say what scripts of others wait for; the official image's docker-ensure-initdb.sh does not say it."""
    log.say("\nPostgreSQL init process complete; ready for start up.\n\n")


def check_init_folder(context: Context, folder: str = probe.INIT_FOLDER) -> None:
    """Make sure that the server's user can list these files; otherwise they would silently not run."""
    code, text = context.children.output(
        ["ls", f"{folder}/"], context.environment, errors=True, become=context.who
    )
    if code:
        raise Failure(
            Problem(
                f"uid {context.who.uid} cannot list the files of {folder}: {text.strip()}",
                f"make the mounted folder readable: chmod a+rx FOLDER (mounted at {folder})",
                exits.UNREADABLE_INIT_FOLDER,
            )
        )


def initdb_arguments(context: Context, *extra: str) -> list[str]:
    """Return POSTGRES_INITDB_ARGS, evaluated by a shell as the official image does, and what follows it.

    Raises Failure with the shell's exit code where it cannot be evaluated.
    """
    text = context.settings.init.initdb_args
    wal_folder = context.settings.init.wal_folder
    # Later, so that it wins over a --waldir in the arguments.
    last = [*(("--waldir", wal_folder) if wal_folder else ()), *extra]
    if re.fullmatch(r"[\w\s=./:,+@-]*", text, re.ASCII):
        return [*text.split(), *last]
    # bash repeats a line that it cannot read, and a password may be in it.
    script = '{ eval "set -- $POSTGRES_INITDB_ARGS"; } 2>/dev/null && printf "%s\\0" "$@"'
    code, out = context.children.output(
        ["bash", "-c", script, "POSTGRES_INITDB_ARGS"], context.environment, become=context.who
    )
    if code:
        raise Failure(
            Problem(
                "POSTGRES_INITDB_ARGS cannot be evaluated by the shell",
                "correct the quotes in POSTGRES_INITDB_ARGS",
                code,
            )
        )
    return [*out.split("\0")[:-1], *last]


def make_cluster(context: Context, unfinished: Unfinished, arguments: list[str]) -> Template | None:
    """Make a cluster in the work folder: a copy of the image's own, or what initdb makes.

    Returns what was copied, if it was; that is not synced yet.
    """
    from entrypoint.effects import configuration, template  # what they take is loaded only where needed

    _warn_of_other_sample(context)
    source = template.find(context, arguments)
    if source is not None:
        template.copy(context, source, unfinished.cluster)
    else:
        _run_initdb(context, unfinished, arguments)
    configuration.adapt(context, unfinished.cluster)
    return source


def _warn_of_other_sample(context: Context) -> None:
    """Say that the documented sample of postgresql.conf has no effect.

    In a Nix image it is a link to the one that initdb reads, and a COPY puts a file in the link's place.
    """
    documented = f"/usr/share/postgresql/{server.SAMPLE}"
    read = f"{server.folder_with(server.SAMPLE, context)}/{server.SAMPLE}"
    try:
        if os.path.samefile(documented, read):
            return
    except OSError:
        return  # other distributions have other places
    log.warning(f"{documented} is not what initdb reads here, but {read}", f"put your settings into {read}")


def syncs_late(source: Template | None, arguments: list[str]) -> bool:
    """Tell whether the cluster is to be synced in the end: a copy, where initdb would sync."""
    return source is not None and not {"-N", "--no-sync"} & {*arguments}


def make_durable(context: Context) -> None:
    """Sync all of a new cluster, as initdb does."""
    argv = ["initdb", "--sync-only", "-D", context.settings.data_folder]
    code, text = context.children.output(argv, context.environment)
    if code:
        raise Failure(
            Problem(
                f"the new database could not be synced: initdb --sync-only ended with {code}\n{text}",
                "look after the disk, then empty the volume",
                code,
            )
        )


def _run_initdb(context: Context, unfinished: Unfinished, arguments: list[str]) -> None:
    settings = context.settings
    password = memory_file(settings.init.password + "\n")
    argv = [
        "initdb",
        f"--username={settings.init.user}",
        f"--pwfile=/dev/fd/{_PASSWORD_DESCRIPTOR}",
        "--no-instructions",
        *arguments,
    ]
    environment = server_environment(settings, context.environment)
    environment["PGDATA"] = unfinished.cluster
    environment |= _unknown_user(context, unfinished)
    try:
        code = context.children.run(argv, environment, descriptors={_PASSWORD_DESCRIPTOR: password})
    finally:
        os.close(password)
    if code:
        log.problem(Problem("initdb failed, see its own words above", "correct POSTGRES_INITDB_ARGS"))
        raise Ended(code)
    if not os.path.exists(f"{unfinished.cluster}/PG_VERSION"):
        raise Failure(
            Problem("initdb made its cluster somewhere else", "remove -D from POSTGRES_INITDB_ARGS")
        )


_PASSWORD_DESCRIPTOR = 9


def _unknown_user(context: Context, unfinished: Unfinished) -> dict[str, str]:
    """Return what makes initdb accept a uid that has no name, as the official image does."""
    if context.who.name:
        return {}
    import glob

    for wrapper in sorted(
        path
        for pattern in ("/lib/", "/lib/*/", "/usr/lib/", "/usr/lib/*/")
        for path in glob.glob(pattern + "libnss_wrapper.so")
    ):
        if os.path.getsize(wrapper):
            break
    else:
        return {}
    uid, gid = context.who.uid, context.who.gid
    home = context.settings.data_folder
    lines = {
        "passwd": f"postgres:x:{uid}:{gid}:PostgreSQL:{home}:/bin/false\n",
        "group": f"postgres:x:{gid}:\n",
    }
    for name, line in lines.items():
        files.write_atomically(f"{unfinished.folder}/{name}", line)
    return {
        "LD_PRELOAD": wrapper,
        "NSS_WRAPPER_PASSWD": f"{unfinished.folder}/passwd",
        "NSS_WRAPPER_GROUP": f"{unfinished.folder}/group",
    }


def append_hba(context: Context, given: list[str], source: Template | None) -> None:
    """Append the line for TCP connections to pg_hba.conf, with the server's own method by default.

    Of a copy of `source` it is known, where nobody has configured anything.
    """
    data_folder = context.settings.data_folder
    method = context.settings.init.auth_method
    if not method and source is not None and not server.is_configured(context):
        method = source.encryption
    if not method:
        code, text = server.ask(context, "password_encryption", given, data_folder)
        if code:
            raise Failure(
                Problem(
                    f"the server does not tell its password_encryption:\n{text}",
                    "correct the arguments after the image's name",
                )
            )
        method = text.splitlines()[-1]
    with open(f"{data_folder}/pg_hba.conf", "a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(_hba_lines(method))
        file.flush()
        os.fsync(file.fileno())


def _hba_lines(method: str) -> str:
    lines = ["", f"host all all all {method}", ""]
    if method.split(maxsplit=1)[0] == "trust":
        lines[1:1] = [
            "# warning trust is enabled for all connections",
            "# see https://www.postgresql.org/docs/current/auth-trust.html",
        ]
    return "\n".join(lines)


_HBA_ERRORS = "SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL ORDER BY 1"


def check_hba(context: Context, unfinished: Unfinished) -> None:
    """Let the server's own parser judge POSTGRES_HOST_AUTH_METHOD, by the cluster that nobody has seen yet.

    Raises Failure with its words, and leaves an empty volume then.
    """
    method = context.settings.init.auth_method
    if method in PLAIN_METHODS:
        return
    path = f"{context.runtime_folder}/pg_hba.conf"
    files.write_atomically(path, _hba_lines(method).lstrip("\n"))
    argv = ["postgres", "--single", "-D", unfinished.cluster, "-c", f"hba_file={path}", "-j", "template1"]
    environment = server_environment(context.settings, context.environment) | {"LC_ALL": "C"}
    question = memory_file(f"{_HBA_ERRORS};\n\n")
    answer = memory_file("")
    try:
        code = context.children.run(argv, environment, descriptors={0: question, 1: answer, 2: answer})
        text = read_back(answer)
    finally:
        os.close(question)
        os.close(answer)
        os.unlink(path)
    wrong = re.findall(r'line_number = "(\d+)"[^\n]*\n[^\n]*error = "(.*)"\t\(typeid', text)
    if code == 0 and not wrong:
        return
    unfinished.discard()
    raise Failure(
        Problem(
            "POSTGRES_HOST_AUTH_METHOD is not accepted by the server behind `host all all all`"
            + "".join(f"\nline {number}: {_without_words_of(method, error)}" for number, error in wrong),
            "give a method with its options, and further lines of pg_hba.conf as they stand there",
        )
    )


def _without_words_of(method: str, error: str) -> str:
    """Return what the server says without what it repeats, which may be a password in the wrong place."""
    for word in re.findall(r'"([^"]*)"', error):
        if word in method and word not in AUTH_METHODS:
            error = error.replace(f'"{word}"', '"***"')
    return error


def create_database(context: Context) -> None:
    """Create POSTGRES_DB unless initdb has; raises Failure with the exit code that psql ends with."""
    name = context.settings.init.database
    if name in ("postgres", "template0", "template1"):
        return
    try:
        sessions.query(context, f"CREATE DATABASE {sql.identifier(name)}", writes=True, seconds=None)
        print("CREATE DATABASE", flush=True)
    except Failure as failure:
        code = 2 if isinstance(failure, sessions.Unreachable) else 3
        raise Failure(*(each._replace(code=code) for each in failure.problems)) from None


def run_files(context: Context, folder: str, state: str = "") -> dict[str, str]:
    """Run the files of a folder in one shell and return the environment it ended with.

    A line `file PATH` is added to the file `state` before each, while it is there. Raises Failure with the
    exit code of the file that failed.
    """
    done = memory_file("")
    descriptor = 8
    argv = ["bash", "-c", _FILES, script.SCRIPT, script.ORIGINAL, folder, state, str(descriptor)]
    try:
        code = context.children.run(argv, context.environment, descriptors={descriptor: done})
        handed_over = read_back(done)
    finally:
        os.close(done)
    begun = [each for each in handed_over.split("\0") if each.startswith(_BEGUN)]
    ended_with = unpack("\0".join(handed_over.split("\0")[len(begun) :]))
    if code == 0 and ended_with:
        return {
            name: value for name, value in ended_with.items() if name not in ("_", "SHLVL", "PWD", "OLDPWD")
        }
    file = begun[-1].removeprefix(_BEGUN) if begun else folder
    if code == 0:
        what = f"{file} ended the shell of all these files with `exit 0`"
        mend = "use `return` instead of `exit`, or make the file executable (chmod +x)"
    else:
        what = f"{file} failed with exit code {code}"
        mend = _why(file, code) or "correct the file"
    raise Failure(Problem(what, mend, code or exits.FAILURE))


def run_init_files(context: Context, unfinished: Unfinished) -> dict[str, str]:
    """Run the init files and return the environment that their shell ended with."""
    if not probe.init_files():
        log.say(f"\n{script.SCRIPT}: ignoring {probe.INIT_FOLDER}/*\n\n")  # as the shell would
        return context.environment
    try:
        return run_files(context, probe.INIT_FOLDER, unfinished.state)
    except Failure as failure:
        (problem,) = failure.problems
        raise Failure(
            problem._replace(
                what=f"the init file {problem.what}; the database is only partly set up and will not be "
                "served",
                mend=f"{problem.mend}, then empty the volume or start once with "
                "-e POSTGRES_INIT_UNFINISHED=restart",
            )
        ) from None


def _why(file: str, code: int) -> str:
    """Return which of the usual reasons keeps a script from being executed."""
    if code not in (exits.NOT_EXECUTABLE, exits.NOT_FOUND) or not file.endswith(".sh"):
        return ""
    if os.path.isdir(file):
        return f"{file} is a folder: such files lie directly in {os.path.dirname(file)}"
    try:
        with open(file, "rb") as script:
            first = script.readline(200)
    except OSError:
        return ""
    interpreter = first[2:].split()[0].decode("utf-8", "replace") if first[2:].split() else ""
    if first.startswith(b"#!") and first.endswith(b"\r\n"):
        return f"its lines end with CRLF, so {interpreter} is not found: sed -i 's/\\r$//' {file}"
    if first.startswith(b"#!") and not os.path.exists(interpreter):
        return f"its interpreter {interpreter} is not in the image: change its first line"
    if first.startswith(b"#!") and not os.access(interpreter, os.X_OK):
        return f"there is no permission to execute its interpreter {interpreter}: chmod +x it"
    if os.statvfs(file).f_flag & os.ST_NOEXEC:
        return "it lies on a mount with noexec: mount it without, or remove its x bit to have it sourced"
    return ""


def initialize(context: Context, given: list[str]) -> tuple[Context, bool]:
    """Make the database; return the context with the environment that the init files left.

    Tells also whether the cluster is the one that was made: init files may put another one in its place. On
    any failure the record stays, so that the next start knows.
    """
    unfinished = Unfinished(context.settings.data_folder)
    arguments = initdb_arguments(context)
    unfinished.begin()
    source = make_cluster(context, unfinished, arguments)
    check_hba(context, unfinished)
    unfinished.move_into_place()
    made = notes.cluster(unfinished.data_folder)
    append_hba(context, given, source)
    helper = context._replace(environment=with_password(context))
    in_reach = [*given, "-c", "listen_addresses=", "-p", context.settings.port]
    if context.settings.archive is not None and not context.settings.archive.by_user:
        in_reach += ["-c", "archive_mode=off"]  # the archive is not prepared yet
    if syncs_late(source, arguments):
        in_reach += ["-c", "fsync=off"]  # a power cut before the end of a first start loses it anyway
    try:
        with temporary.serve(context, in_reach):
            create_database(context)
            if context.settings.every_start.extensions:
                from entrypoint.effects import extensions

                extensions.create(at_port(context, context.settings.port))
            if probe.init_files():
                unfinished.enter("files")
            environment = run_init_files(helper, unfinished)
    except Stopped:
        log.warning("stopped before the first start was finished; the next start says how to go on")
        raise
    now = notes.cluster(unfinished.data_folder)
    if not now:
        raise Failure(
            Problem(
                f"the init files have left no database in {unfinished.data_folder}",
                "correct them: what removes the database that was made is to put another one there",
            )
        )
    notes.migrate(unfinished.data_folder)
    if probe.init_files():
        from entrypoint.effects import history

        history.note_init_files(unfinished.data_folder, probe.INIT_FOLDER)
    if syncs_late(source, arguments):
        make_durable(context)
    unfinished.finish()
    if now != made:
        log.info(
            "the init files have put another database in the place of the new one: it is served as it is"
        )
    return context._replace(environment=environment), now == made
