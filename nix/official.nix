# The official Debian image from its registry, pinned to the digests that docker-library publishes (its repo-info
# repository). Every blob is a download whose digest is its hash, so the whole image is fixed before anything is fetched.
{
  lib,
  stdenvNoCC,
  runCommand,
  cacert,
  curl,
  jq,
  major,
}:
let
  pin = (lib.importJSON ./official.json).${major};
  inherit (pin.${stdenvNoCC.hostPlatform.system}) config layers;

  blob =
    digest:
    runCommand "postgres-${lib.substring 0 12 digest}"
      {
        nativeBuildInputs = [
          curl
          jq
        ];
        SSL_CERT_FILE = "${cacert}/etc/ssl/certs/ca-bundle.crt";
        impureEnvVars = lib.fetchers.proxyImpureEnvVars;
        outputHashMode = "flat";
        outputHashAlgo = "sha256";
        outputHash = digest;
      }
      ''
        token=$(curl --fail --silent --show-error --retry 3 \
          'https://auth.docker.io/token?service=registry.docker.io&scope=repository:library/postgres:pull' |
          jq --raw-output .token)
        curl --fail --silent --show-error --retry 3 --location --header "Authorization: Bearer $token" \
          --output $out https://registry-1.docker.io/v2/library/postgres/blobs/sha256:${digest}
      '';

  manifest = [
    {
      Config = "${config}.json";
      RepoTags = [ "postgres:${pin.tag}" ];
      Layers = lib.imap0 (number: _: "${toString number}.tar") layers;
    }
  ];
in
# The layout of `docker save`, which dockerTools reads.
runCommand "postgres-${pin.tag}.tar" { passthru = { inherit pin; }; } ''
  mkdir image && cd image
  cp ${blob config} ${config}.json
  ${lib.concatStringsSep "\n" (
    lib.imap0 (number: layer: "gzip --decompress --stdout ${blob layer} >${toString number}.tar") layers
  )}
  echo ${lib.escapeShellArg (builtins.toJSON manifest)} >manifest.json
  tar --sort=name --mtime=@1 --owner=0 --group=0 --numeric-owner --create --file=$out *
''
