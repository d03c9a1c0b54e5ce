# nix-postgres on an image of PostgreSQL with the layout of the official Debian image. The build needs only docker:
#
#   docker build --build-arg BASE_IMAGE=postgres:17-trixie --tag nix-postgres .
#
# If the official image cannot be pulled, `make image` does the same on a base that it builds itself (image/base.sh).
# image/layout.json lists what the result must contain; the Nix images are built from that file, and a test compares both.
# The base is pinned like that of the Nix images: nix/official.py updates both.
ARG BASE_IMAGE=postgres:17-trixie@sha256:f4c66b820c6f974249089d3d16d86a3698eae11e8746eb6644b2271031e91232
FROM ${BASE_IMAGE}

LABEL org.opencontainers.image.title="nix-postgres" \
      org.opencontainers.image.description="PostgreSQL with a PID 1 that archives, backs up, restores and stops in order" \
      org.opencontainers.image.licenses="MIT"

# For the build only: image/build.sh passes the options of this machine's own apt, for a frozen mirror.
ARG APT_OPTIONS

# The archivers' packages from the suite come first, since they change least.
#
# The program has its own Python, with the parts of the standard library and the packages that it needs (image/trim.py). It is a copy
# of Debian's, which is removed again unless the base has it: a derived image may install, replace or break python3. A newer
# Python comes with a newer image. The libraries that this Python loads are marked as manually installed, so that autoremove keeps them.
COPY image/trim.py /tmp/
RUN set -eu; \
    export DEBIAN_FRONTEND=noninteractive; \
    packages='apprise python3 python3-click python3-jinja2 python3-prometheus-client python3-psutil'; \
    dpkg-query --show --showformat '${Package}\n' >/tmp/before; \
    apt-get ${APT_OPTIONS:-} update; \
    apt-get ${APT_OPTIONS:-} install --yes --no-install-recommends pgbackrest $packages; \
    own=/usr/local/lib/nix-postgres; \
    PYTHONHASHSEED=0 /usr/bin/python3 -sX no_debug_ranges /tmp/trim.py /usr/lib/python3/dist-packages $own; \
    find $own -name '*.so' -exec ldd $own/python3 {} + | awk '$2 == "=>" { print $3 }' | sort -u | xargs realpath \
        | sed 's,.*/,*/,' | xargs dpkg-query --search | cut -d: -f1 | sort -u | xargs apt-mark manual; \
    printf '%s\n' $packages | grep -Fxvf /tmp/before | xargs --no-run-if-empty apt-mark auto; \
    apt-get autoremove --simulate | awk '$1 == "Remv" { print $2 }' | grep -Fxvf /tmp/before \
        | xargs --no-run-if-empty apt-get purge --yes; \
    rm -rf /tmp/before /tmp/trim.py /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log

# UPGRADE_FROM has the older majors whose clusters the image can upgrade, for example "15 17". Their programs have the base's C
# library. They come from the base's own package sources, and from those of the suites of Debian in UPGRADE_SUITES.
ARG UPGRADE_FROM
ARG UPGRADE_SUITES
RUN set -eu; \
    [ -n "${UPGRADE_FROM:-}" ] || exit 0; \
    export DEBIAN_FRONTEND=noninteractive; \
    for suite in ${UPGRADE_SUITES:-}; do \
        key='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'; \
        printf "deb $key http://deb.debian.org/%s main\n" "debian $suite" "debian-security $suite-security"; \
    done | sort -u >/etc/apt/sources.list.d/older.list; \
    [ -s /etc/apt/sources.list.d/older.list ] || rm /etc/apt/sources.list.d/older.list; \
    apt-get ${APT_OPTIONS:-} update; \
    apt-get ${APT_OPTIONS:-} install --yes --no-install-recommends $(printf 'postgresql-%s ' $UPGRADE_FROM); \
    rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log

# Our gosu replaces that of the official image. To add wal-g, put wal-g and walg-daemon-client into the same folder.
COPY image/bin/ /usr/local/bin/

# bookworm has no cronsim; image/build.sh puts the wheel here, otherwise it is fetched.
COPY uv.lock image/wheels/ /tmp/wheels/
RUN /usr/local/lib/nix-postgres/python3 -IS /tmp/wheels/fetch.py /usr/local/lib/nix-postgres && rm -r /tmp/wheels

COPY entrypoint/ /usr/local/lib/nix-postgres/entrypoint/
COPY conf_templates/ /usr/local/lib/nix-postgres/conf_templates/
COPY docs/how-to/ /usr/local/lib/nix-postgres/docs/how-to/

# CloudNativePG runs an image's programs as uid 26, and initdb and peer authentication look up the name of their user.
# The group 26 exists. usermod would refuse a second postgres.
RUN getent passwd 26 >/dev/null || printf 'cnpg:*:26:26::/var/lib/postgresql:/usr/sbin/nologin\n' >>/etc/passwd

# Set the modes, since those of a clone depend on its umask. Compile now: nothing may write here later, and each start would
# otherwise compile everything. docker-entrypoint.sh and similar scripts are copies, since they check the name of their call.
RUN set -eu; \
    cd /usr/local/lib/nix-postgres; \
    chmod -R u=rwX,go=rX conf_templates cronsim* docs entrypoint; \
    chmod 755 entrypoint/shims/* /usr/local/bin/entrypoint /usr/local/bin/gosu; \
    ./python3 -IX no_debug_ranges -m compileall -q entrypoint cronsim; \
    install -d -o postgres -g postgres -m 711 /run/entrypoint; \
    install -d -m 755 /docker-entrypoint-conf.d; \
    cp entrypoint/shims/docker-entrypoint.sh entrypoint/shims/docker-ensure-initdb.sh /usr/local/bin/; \
    ln -sfT docker-ensure-initdb.sh /usr/local/bin/docker-enforce-initdb.sh; \
    cp entrypoint/shims/by-hand /usr/local/sbin/pgbackrest; \
    if [ -e /usr/local/bin/wal-g ]; then cp entrypoint/shims/by-hand /usr/local/sbin/wal-g; fi

# Create the cluster that a first start copies if initdb would make the same one. Comes after every file that initdb reads.
RUN entrypoint internal template

# The gosu version whose syntax our replacement follows; scripts check this variable.
ENV GOSU_VERSION=1.19

STOPSIGNAL SIGINT
ENTRYPOINT ["entrypoint"]
# a new ENTRYPOINT clears the base's CMD
CMD ["postgres"]
