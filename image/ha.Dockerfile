# The image with Patroni, one layer on top of an image of nix-postgres on Debian: `make image HA=yes`.
ARG BASE_IMAGE=nix-postgres:dev-17-trixie
FROM ${BASE_IMAGE}

ARG APT_OPTIONS

# The suite's own packages, with its security updates: Patroni, and its clients for etcd and Consul. Patroni 4 calls the leader
# `primary`; an older one has other names for it, and cannot be updated to 4 node by node from before 3.1.
RUN set -eu; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get ${APT_OPTIONS:-} update; \
    apt-get ${APT_OPTIONS:-} install --yes --no-install-recommends patroni python3-consul python3-etcd; \
    version=$(dpkg-query --show --showformat '${Version}' patroni); \
    dpkg --compare-versions "$version" ge 4 || { echo "the suite has Patroni $version, but HA needs 4" >&2; exit 1; }; \
    rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log

# patronictl finds this node's configuration, also as root: docker exec CONTAINER patronictl list
ENV PATRONICTL_CONFIG_FILE=/run/entrypoint/patroni.yml
