# nix-postgres over an image of PostgreSQL that is laid out like the official Debian one. It needs no other tool than docker:
#
#   docker build --build-arg BASE_IMAGE=postgres:17-trixie --tag nix-postgres .
#
# `make image` does the same over a base of its own making (image/base.sh) where the official image cannot be pulled.
# What the result must hold stands in image/layout.json, from which the Nix images are built; a test compares.
# Pinned as the Nix images' base is: nix/official.py moves both.
ARG BASE_IMAGE=postgres:17-trixie@sha256:f4c66b820c6f974249089d3d16d86a3698eae11e8746eb6644b2271031e91232
FROM ${BASE_IMAGE}

LABEL org.opencontainers.image.title="nix-postgres" \
      org.opencontainers.image.description="PostgreSQL with a PID 1 that archives, backs up, restores and stops in order" \
      org.opencontainers.image.licenses="MIT"

# For the time of the build alone: image/build.sh tells what the machine's own apt is told, for a mirror that stands still.
ARG APT_OPTIONS

# Everything from the suite; first, since it changes least.
#
# The program has a Python of its own, with its standard library and packages: an image built on this one may remove, replace or
# break python3. They are further names of Debian's files, so they take no room, and only a layer that changes these gets its own;
# so a newer Python comes with a newer image. The libraries that it loads are marked as wanted, since autoremove would take them.
RUN set -eu; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get ${APT_OPTIONS:-} update; \
    apt-get ${APT_OPTIONS:-} install --yes --no-install-recommends \
        pgbackrest \
        python3 \
        python3-click \
        python3-jinja2 \
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

# Our gosu takes the place of the official image's. Whoever wants wal-g puts wal-g and walg-daemon-client beside it.
COPY image/bin/ /usr/local/bin/

# bookworm has no cronsim; image/build.sh puts the wheel here, else it is fetched.
COPY uv.lock image/wheels/ /tmp/wheels/
RUN python3 /tmp/wheels/fetch.py /usr/local/lib/nix-postgres && rm -r /tmp/wheels

COPY entrypoint/ /usr/local/lib/nix-postgres/entrypoint/
COPY conf_templates/ /usr/local/lib/nix-postgres/conf_templates/
COPY docs/how-to/ /usr/local/lib/nix-postgres/docs/how-to/

# Modes are set here since a clone's depend on its umask. Compiled now, because nothing may write here later, and a start would
# compile everything each time. docker-entrypoint.sh and its kin are copies, since they look at the name they are called by.
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

# What a first start copies where initdb would make the same; after all that initdb reads.
RUN entrypoint internal template

# The grammar of which our stand-in follows; scripts look at it.
ENV GOSU_VERSION=1.19

STOPSIGNAL SIGINT
ENTRYPOINT ["entrypoint"]
# a new entrypoint clears the base's command
CMD ["postgres"]
