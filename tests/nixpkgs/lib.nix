# What the flake takes from nixpkgs' lib, in a few lines each.
builtins // rec {
  inherit (builtins)
    concatMap
    filter
    listToAttrs
    replaceStrings
    ;
  concatMapStrings = f: list: concatStrings (map f list);
  concatStrings = builtins.concatStringsSep "";
  escapeShellArg = text: "'${replaceStrings [ "'" ] [ "'\\''" ] text}'";
  extendDerivation =
    _: more: drv:
    drv // more;
  fetchers.proxyImpureEnvVars = [ "https_proxy" ];
  filterAttrs =
    keep: set:
    listToAttrs (filter ({ name, value }: keep name value) (mapAttrsToList nameValuePair set));
  genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
  getExe = package: "${package}/bin/${package.name}";
  hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
  hasSuffix = suffix: text: builtins.match ".*${suffix}" text != null;
  hiPrio = package: package;
  imap0 =
    f: list: builtins.genList (number: f number (builtins.elemAt list number)) (builtins.length list);
  importJSON = path: builtins.fromJSON (builtins.readFile path);
  last = list: builtins.elemAt list (builtins.length list - 1);
  licenses.mit = "mit";
  mapAttrs' = f: set: listToAttrs (mapAttrsToList f set);
  mapAttrsToList = f: set: map (name: f name set.${name}) (builtins.attrNames set);
  mergeAttrsList = builtins.foldl' (all: set: all // set) { };
  nameValuePair = name: value: { inherit name value; };
  optionalAttrs = yes: set: if yes then set else { };
  optionalString = yes: text: if yes then text else "";
  platforms.linux = [ ];
  sourceByRegex =
    folder: patterns:
    builtins.path {
      name = "source";
      path = folder;
      filter =
        path: _:
        let
          length = builtins.stringLength (toString folder) + 1;
          name = builtins.substring length (builtins.stringLength path) path;
        in
        builtins.any (pattern: builtins.match pattern name != null) patterns;
    };
  toInt = builtins.fromJSON;
  versionOlder = ours: other: builtins.compareVersions ours other < 0;

  # of the module system: what a module is given stays as it is
  nixosSystem = system: system;
  literalExpression = text: text;
  mkEnableOption = _: { default = false; };
  mkForce = value: value;
  mkIf = condition: value: if condition then value else { };
  mkOption = option: option;
  types =
    builtins.listToAttrs (
      map (name: nameValuePair name (name: name)) [
        "attrsOf"
        "listOf"
        "nullOr"
      ]
    )
    // {
      ints.positive = "positive";
      package = "package";
      path = "path";
      str = "str";
    };
}
