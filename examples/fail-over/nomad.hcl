# Nomad with its docker driver, and Consul as the store in which three nodes under Patroni agree on a leader.
# Each machine has a Consul agent, a host volume `postgres`, and max_kill_timeout of at least the task's kill_timeout.
# Clients: primary.shop.service.consul for writes, replica.shop.service.consul for reads.
job "postgres" {
  type = "service"

  group "postgres" {
    count = 3

    # one node on each machine, whose volume it keeps
    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }

    update {
      max_parallel = 1
      health_check = "checks"
    }

    network {
      port "db" {
        static = 5432
        to     = 5432
      }
      port "patroni" {
        static = 8008
        to     = 8008
      }
      port "status" {
        static = 9187
        to     = 9187
      }
    }

    volume "data" {
      type   = "host"
      source = "postgres"
    }

    task "postgres" {
      driver = "docker"

      # more than the entrypoint's own 65 s, so that SIGKILL never comes first
      kill_timeout = "90s"
      kill_signal  = "SIGINT"

      config {
        image    = "nix-postgres:17-ha"
        ports    = ["db", "patroni", "status"]
        shm_size = 268435456
      }

      # PATRONI_NAME is the name of the machine: with its volume, the node keeps its name
      env {
        PATRONI_SCOPE                      = "shop"
        PATRONI_NAME                       = "${node.unique.name}"
        PATRONI_POSTGRESQL_CONNECT_ADDRESS = "${attr.unique.network.ip-address}:5432"
        PATRONI_CONSUL_HOST                = "${attr.unique.network.ip-address}"
        PATRONI_CONSUL_PORT                = "8500"
        PATRONI_CONSUL_REGISTER_SERVICE    = "on"
        PATRONI_DCS_SYNCHRONOUS_MODE       = "on"
        POSTGRES_PASSWORD_FILE             = "/secrets/superuser"
        PATRONI_REPLICATION_PASSWORD_FILE  = "/secrets/replication"
        STATUS_LISTEN                      = ":9187"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/postgres\" }}{{ .superuser }}{{ end }}"
        destination = "secrets/superuser"
        change_mode = "noop"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/postgres\" }}{{ .replication }}{{ end }}"
        destination = "secrets/replication"
        change_mode = "noop"
      }

      # from PostgreSQL 18 on: /var/lib/postgresql
      volume_mount {
        volume      = "data"
        destination = "/var/lib/postgresql/data"
      }

      service {
        name     = "postgres-node"
        port     = "status"
        provider = "consul"

        check {
          type     = "http"
          path     = "/ready"
          interval = "10s"
          timeout  = "4s"
        }
      }

      resources {
        cpu    = 1000
        memory = 2048
      }
    }
  }
}
