"""Licences of what is linked into the binary: reads `cargo metadata` of this workspace, prints one text.

    python3 packaging/third_party.py >third-party-licences.txt

A crate's own files (LICENSE, COPYING, NOTICE, of folders in it too, where C and C++ lie) come from cargo's registry on this machine,
where a build has put them. Equal texts are printed once. Exit code 1: a crate has no such file and no licence it names.
"""

import json
import pathlib
import re
import subprocess
import sys

NAMES = re.compile(r"(licen[cs]e|copying|notice|copyright)", re.IGNORECASE)
TARGET = "x86_64-unknown-linux-gnu"
# Sources, and tests' or documentation's files that happen to bear such a name.
NO_TEXT = {".rs", ".c", ".cc", ".h", ".py", ".toml", ".html", ".json", ".lock", ".svg", ".sh"}


def linked(metadata):
    """Every package that the package `zweig` needs to run, itself and other members left out."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    members = set(metadata["workspace_members"])
    waiting = [identity for identity in members if packages[identity]["name"] == "zweig"]
    seen = set(waiting)
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            if None in kinds and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    found = [packages[identity] for identity in seen - members]
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def texts(package):
    """The licence files of a crate, at most two folders deep."""
    root = pathlib.Path(package["manifest_path"]).parent
    files = [path for pattern in ("*", "*/*", "*/*/*") for path in root.glob(pattern)]
    files = [path for path in files if path.is_file() and NAMES.search(path.name) and path.suffix not in NO_TEXT]
    return [path.read_text(encoding="utf-8", errors="replace").strip() for path in sorted(files)]


def main():
    """Prints the list of crates, then each text with the crates it is for."""
    command = ["cargo", "metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", TARGET]
    packages = linked(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    by_text, bare = {}, []
    print("Crates that are linked into zweig, and their licences.\n")
    for package in packages:
        name = f"{package['name']} {package['version']}"
        print(f"  {name}: {package['license'] or 'see its text'}")
        found = texts(package)
        if not found and not package["license"]:
            bare.append(name)
        for text in found:
            by_text.setdefault(text, []).append(name)
    for text, names in by_text.items():
        print(f"\n{'=' * 78}\n{', '.join(dict.fromkeys(names))}\n{'=' * 78}\n\n{text}")
    for name in bare:
        print(f"third_party: {name} says nothing of its licence", file=sys.stderr)
    return 1 if bare else 0


if __name__ == "__main__":
    sys.exit(main())
