"""nixpkgs' own dockerTools builds every kind of image from nix/image.nix, as ekala-project/corepkgs has it.

Without COREPKGS and NIX_LIB, the stand-ins of tests/nixpkgs/builders.nix build the image that test_nix_image.py tests.
"""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator

import pytest

import containers
from containers import run, serve
from layout import layout_of
from nix_image import STORE, Builder, missing

if missing():
    pytest.skip(missing(), allow_module_level=True)

BASES = ("15-bookworm", "17-trixie", "18-sid")
FOLDERS = "stat --format '%n %U %a' \"$@\""


def _output(builder: Builder, script: str) -> str:
    process = builder.run(script)
    output, _ = process.communicate()
    assert 0 == process.returncode
    return output.decode()


@pytest.fixture(scope="module", params=BASES)
def builder(request: pytest.FixtureRequest) -> Builder:
    return Builder(f"nix-postgres-base:{request.param}", real=True)


@pytest.fixture
def image(builder: Builder) -> Iterator[str]:
    """What image-MAJOR-stream writes."""
    name = f"nix-postgres-test-{containers.RUN}:{builder.major}-docker-tools"
    builder.load(f"image-{builder.major}", name)
    yield name
    containers.docker("image", "rm", "--force", name)


def test_a_server_in_folders_of_the_layout(builder: Builder, image: str) -> None:
    """The owners and modes that fakeRootCommands sets are those of image/layout.json, and the server starts from its template."""
    layout = layout_of(int(builder.major))
    expected = [f"{path} {folder['owner']} {folder['mode']}" for path, folder in layout["folders"].items()]
    script = ("bash", "-c", FOLDERS, "bash", *layout["folders"])
    assert expected == run(*script, image=image).stdout.splitlines()
    with serve(image=image) as server:
        assert builder.major == server.sql("SHOW server_version").partition(".")[0]
        assert "They are copied from the cluster" in server.logs().stdout


def test_the_file_and_the_stream_are_the_same(builder: Builder) -> None:
    """image-MAJOR, uncompressed, has the bytes that image-MAJOR-stream writes."""
    major = builder.major
    sums = _output(
        builder,
        f"""
        gzip --decompress --stdout $(nix-build --no-out-link $image --attr image-{major}) | sha256sum
        $(nix-build --no-out-link $image --attr image-{major}-stream) | sha256sum
        """,
    ).splitlines()
    assert 2 == len(sums)
    assert 1 == len({*sums})


def test_built_twice_it_is_the_same(builder: Builder) -> None:
    """image-MAJOR is built again, from the program and its cluster to the stream and the compressed archive, and compared."""
    major = builder.major
    made = {
        f"nix-postgres-template-{major}",
        f"nix-postgres-tree-{major}",
        "stream-nix-postgres",
        "nix-postgres.tar.gz",
    }
    assert made <= builder.again(f"image-{major}")


def test_layers(builder: Builder) -> None:
    """Few layers; the C library is in the first, PostgreSQL above its libraries, and our program above PostgreSQL."""
    conf = f"cat $(nix-build --no-out-link $image --attr image-{builder.major}-stream.conf)"
    layers = json.loads(_output(builder, conf))["store_layers"]
    names = [[path.partition("-")[2] for path in layer] for layer in layers]
    print(*(f"layer {number}: {' '.join(layer)}" for number, layer in enumerate(names, 1)), sep="\n")

    def place(begin: str) -> int:
        (found,) = (
            number for number, layer in enumerate(names) if any(name.startswith(begin) for name in layer)
        )
        return found

    assert len(names) <= 11
    assert 0 == place("glibc-2")
    postgresql = place(f"postgresql-{builder.major}.")
    rising = [place("libllvm"), postgresql, place("nix-postgres-template"), place("nix-postgres-entrypoint")]
    assert sorted(rising) == rising
    assert postgresql < rising[-1]


def test_over_another_image(builder: Builder) -> None:
    """Over a Debian image, only our files are new: its users, folders and PostgreSQL stay, and our program starts it."""
    major, base = builder.major, builder.base
    saved = f"/nix/{containers.docker('image', 'inspect', '--format={{.Id}}', base).stdout.strip()[7:23]}.tar"
    keep = (
        "run",
        "--rm",
        "--interactive",
        f"--volume={STORE}:/nix",
        "--user=postgres",
        "--entrypoint=bash",
        base,
    )
    with subprocess.Popen(("docker", "save", base), stdout=subprocess.PIPE) as save:
        subprocess.run(("docker", *keep, "-c", f"cat >{saved}"), stdin=save.stdout, check=True)
    name = f"nix-postgres-test-{containers.RUN}:{major}-over"
    asked = (
        '(import ./tests/nixpkgs/image.nix { corepkgs = "/tmp/in/corepkgs"; nixLib = "/tmp/in/nix-lib"; })'
    )
    choices = f'{{ major = "{major}"; over = "{saved}"; stream = true; }}'
    build = f"$(nix-build --no-out-link --expr '{asked}.mkImage {choices}') --repo_tag {name}; rm {saved}"
    process = builder.run(build)
    try:
        with process.stdout or io.BytesIO() as archive:
            subprocess.run(("docker", "load", "--quiet"), stdin=archive, check=True)
        assert 0 == process.wait()
        script = ("bash", "-c", FOLDERS, "bash", *layout_of(int(major))["folders"])
        folders = run(*script, image=name).stdout.splitlines()
        ours = ["/docker-entrypoint-conf.d root 755", "/run/entrypoint postgres 711"]
        assert ours == [row for row in folders if row in ours]
        bases = containers.docker("run", "--rm", "--entrypoint=bash", base, *script[1:], check=False).stdout
        assert {*bases.splitlines()} == {*folders} - {*ours}
        with serve(image=name) as server:
            assert major == server.sql("SHOW server_version").partition(".")[0]
            assert "/usr/lib/postgresql" in server.shell(
                "readlink /proc/1/task/1/children || command -v postgres"
            )
            assert server.shell("readlink -f /usr/local/bin/entrypoint").startswith("/nix/store/")
    finally:
        containers.docker("image", "rm", "--force", name, check=False)
