# Nomad with its docker driver. The client's max_kill_timeout (30 s by default) must be at least the task's kill_timeout.
job "postgres" {
  type = "service"

  group "postgres" {
    count = 1

    network {
      port "db" {
        static = 5432
        to     = 5432
      }
    }

    volume "data" {
      type   = "host"
      source = "postgres"
    }

    task "postgres" {
      driver = "docker"

      # more than the entrypoint's own 65 s, so that SIGKILL never comes first; SIGINT is the image's stop signal: a fast shutdown
      kill_timeout = "90s"
      kill_signal  = "SIGINT"

      config {
        image    = "nix-postgres:17"
        ports    = ["db"]
        shm_size = 268435456
      }

      env {
        POSTGRES_PASSWORD_FILE     = "/secrets/password"
        ARCHIVE_URL                = "s3://bucket/db"
        AWS_REGION                 = "eu-central-1"
        AWS_ACCESS_KEY_ID_FILE     = "/secrets/s3_key"
        AWS_SECRET_ACCESS_KEY_FILE = "/secrets/s3_secret"
        BACKUP_SCHEDULE            = "0 3 * * *"
        BACKUP_RETAIN_DAYS         = "14"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/postgres\" }}{{ .password }}{{ end }}"
        destination = "secrets/password"
        change_mode = "noop"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/postgres\" }}{{ .s3_key }}{{ end }}"
        destination = "secrets/s3_key"
        change_mode = "noop"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/postgres\" }}{{ .s3_secret }}{{ end }}"
        destination = "secrets/s3_secret"
        change_mode = "noop"
      }

      # from PostgreSQL 18 on: /var/lib/postgresql
      volume_mount {
        volume      = "data"
        destination = "/var/lib/postgresql/data"
      }

      service {
        name     = "postgres"
        port     = "db"
        provider = "nomad"

        check {
          type     = "tcp"
          interval = "10s"
          timeout  = "2s"
        }
      }

      resources {
        cpu    = 1000
        memory = 2048
      }
    }
  }
}
