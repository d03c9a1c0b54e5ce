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

# Packages from the suite come first, since they change least.
#
# The program has its own Python, with the standard library and packages: a derived image may remove, replace or break python3.
# These files are hard links to Debian's files, so they take no space, and a layer that changes Debian's files does not change
# them. A newer Python comes with a newer image. The libraries that this Python loads are marked as manually installed, so that
# autoremove keeps them.
RUN set -eu; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get ${APT_OPTIONS:-} update; \
    apt-get ${APT_OPTIONS:-} install --yes --no-install-recommends \
        apprise \
        pgbackrest \
        python3 \
        python3-click \
        python3-jinja2 \
        python3-prometheus-client \
        python3-psutil; \
    python=$(readlink -f /usr/bin/python3); \
    own=/usr/local/lib/nix-postgres; \
    mkdir -p $own/lib; \
    cp -al "$python" $own/python3; \
    cp -al "/usr/lib/${python##*/}" $own/lib/; \
    cp -al /usr/lib/python3/dist-packages $own/packages; \
    find $own/lib '(' -name '_sqlite3*' -o -name '_curses*' -o -name '*dbm*' -o -name 'readline*' -o -name 'nis*' ')' \
        -name '*.so' -delete; \
    find $own -name '*.so' -exec ldd $own/python3 {} + | awk '$2 == "=>" { print $3 }' | sort -u | xargs realpath \
        | sed 's,.*/,*/,' | xargs dpkg-query --search | cut -d: -f1 | sort -u | xargs apt-mark manual; \
    rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log

# Our gosu replaces that of the official image. To add wal-g, put wal-g and walg-daemon-client into the same folder.
COPY image/bin/ /usr/local/bin/

# bookworm has no cronsim; image/build.sh puts the wheel here, otherwise it is fetched.
COPY uv.lock image/wheels/ /tmp/wheels/
RUN python3 /tmp/wheels/fetch.py /usr/local/lib/nix-postgres && rm -r /tmp/wheels

COPY entrypoint/ /usr/local/lib/nix-postgres/entrypoint/
COPY conf_templates/ /usr/local/lib/nix-postgres/conf_templates/
COPY docs/how-to/ /usr/local/lib/nix-postgres/docs/how-to/

# Set the modes, since those of a clone depend on its umask. Compile now: nothing may write here later, and each start would
# otherwise compile everything. docker-entrypoint.sh and similar scripts are copies, since they check the name of their call.
RUN set -eu; \
    cd /usr/local/lib/nix-postgres; \
    chmod -R u=rwX,go=rX conf_templates cronsim* docs entrypoint; \
    chmod 755 entrypoint/shims/* /usr/local/bin/entrypoint /usr/local/bin/gosu; \
    ./python3 -m compileall -q entrypoint cronsim; \
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
