"""Holds what is packaged against the binary and against itself; `packaging/tests/check.sh` runs it.

    python3 packaging/tests/check.py BINARY ROOM

Every command of units, Dockerfile, compose.yaml and manifests is given to the binary, with folders of data that can't be made: what is wrong
with an option, a key or a value ends it with 2, or is a warning, before it gets there. Nothing listens;
nothing is written but into the folder ROOM.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
# The kernel makes no folder here.
NOWHERE = "/proc/none"
WRONG_USAGE = 2
NO_NODE = 5
found = []
# What was asked already, and what came of it.
answers = {}


def bad(where, what):
    """Notes a finding."""
    found.append(f"{where}: {what}")


def run(binary, words, env=None):
    """The exit code, and what was said. Nothing is reached: port 1 is nobody's."""
    env = {"PATH": os.environ["PATH"], "ZWEIG_SERVER": "127.0.0.1:1", "ZWEIG_BOOTSTRAP": "127.0.0.1:1", **(env or {})}
    done = subprocess.run([binary, *words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def server(binary, where, words, properties):
    """A command that runs a server, `zweig` left out, with this file in the place of its own."""
    words = [str(properties) if word.startswith("/etc/zweig/") else word for word in words]
    role = words[0]
    nowhere = {"coordinator": ["dataDir", "dataLogDir"], "broker": ["log.dirs"]}.get(role)
    if nowhere is None:
        return bad(where, f"{role} is no server")
    words += [part for key in nowhere for part in ("--set", f"{key}={NOWHERE}")]
    code, said = run(binary, words)
    if code == WRONG_USAGE or NOWHERE not in said:
        bad(where, f"{shlex.join(words)} ends with {code}: {said.strip()}")
    for line in said.splitlines():
        if "WARN" in line:
            bad(where, f"{shlex.join(words)} warns: {line}")
    return None


def tool(binary, where, words):
    """A command that asks a server: it is understood, and finds nobody."""
    if "--timeout" in words:
        seconds = words.index("--timeout") + 1
        words = [*words[:seconds], str(min(1, int(words[seconds]))), *words[seconds + 1 :]]
    code, said = answers.get(tuple(words)) or run(binary, words)
    answers[tuple(words)] = code, said
    if code != NO_NODE:
        bad(where, f"{shlex.join(words)} ends with {code}: {said.strip()}")


def settings(text):
    """The keys of a properties file, those that are commented out too."""
    return dict(re.findall(r"^#?([A-Za-z][\w.]*)=(.*)$", text, re.MULTILINE))


def units(binary):
    """The services, with the settings of the Debian package; then with every setting that is commented out."""
    for role in ("coordinator", "broker"):
        properties = PACKAGING / "deb" / f"{role}.properties"
        for unit in (f"zweig-{role}.service", f"zweig-{role}@.service"):
            text = (PACKAGING / "systemd" / unit).read_text()
            words = shlex.split(re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)[1])
            if words[0] != "/usr/bin/zweig":
                bad(unit, f"{words[0]} is not where the package has it")
            server(binary, unit, words[1:], properties)
        every = [part for key, value in settings(properties.read_text()).items() for part in ("--set", f"{key}={value}")]
        identity = ["--myid", "1"] if role == "coordinator" else []
        server(binary, properties.name, [role, "--config", "/etc/zweig/x", *every, *identity], properties)


def dockerfile(binary):
    """The compiler's version, what Debian has to add, and the question after health."""
    text = (PACKAGING / "docker" / "Dockerfile").read_text()
    wanted = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    if f"FROM rust:{wanted}-bookworm " not in text:
        bad("Dockerfile", f"does not build with Rust {wanted}, as Cargo.toml has it")
    needed = re.search(r'^packages="(.*)"$', (ROOT / "scripts" / "setup").read_text(), re.MULTILINE)[1].split()
    for package in set(needed) - {"build-essential", "pkg-config"}:
        if package not in text:
            bad("Dockerfile", f"does not install {package}, which scripts/setup does")
    asked = re.search(r"^HEALTHCHECK [^\[]*(\[.*\])$", text, re.MULTILINE)
    for command in re.findall(r"zweig ([^>|]*?) >", asked[1]):
        tool(binary, "Dockerfile", command.split())


def compose(binary):
    """Services, their commands, what is published and what clients are told."""
    where = PACKAGING / "docker" / "compose.yaml"
    described = yaml.safe_load(where.read_text())
    services, published = described["services"], []
    for name, service in services.items():
        role = name.rsplit("-", 1)[0]
        properties = where.parent / f"{role}.properties"
        server(binary, f"compose.yaml: {name}", service["command"], properties)
        test = service["healthcheck"]["test"]
        if test[:2] != ["CMD", "zweig"]:
            bad(name, "asks after its health by another program")
        tool(binary, f"compose.yaml: {name}", test[2:])
        for port in service["ports"]:
            address, host, _ = port.rsplit(":", 2)
            published.append(host)
            told = re.search(r"HOST://([^:]*:\d+)", " ".join(service["command"]))
            if role == "broker" and (not told or told[1] != f"{address}:{host}"):
                bad(name, f"is published at {address}:{host}, and says otherwise")
        own = f"INTERNAL://{name}:19092"
        if role == "broker" and own not in " ".join(service["command"]):
            bad(name, f"does not tell brokers {own}")
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if not source.startswith("./") and source not in described["volumes"]:
                bad(name, f"there is no volume {source}")
            if source.startswith("./") and not (where.parent / source).exists():
                bad(name, f"there is no {source}")
    if len(published) != len(set(published)):
        bad("compose.yaml", f"a port is published twice: {published}")
    files = [settings((where.parent / f"{role}.properties").read_text()) for role in ("coordinator", "broker")]
    for peer in [value.split(":")[0] for key, value in files[0].items() if key.startswith("server.")]:
        if peer not in services or f"{peer}:2181" not in files[1]["zookeeper.connect"]:
            bad("compose.yaml", f"{peer} is no service, or brokers don't know it")


def manifests():
    """Every object of Kubernetes."""
    for path in sorted((PACKAGING / "kubernetes").glob("*.yaml")):
        for described in yaml.safe_load_all(path.read_text()):
            yield f"{path.name}: {described['kind']} {described.get('metadata', {}).get('name', '')}".strip(), described


def pod(binary, where, stateful, properties):
    """The one container of a set: its command as each of its pods gives it, its probes, its volumes."""
    spec = stateful["spec"]["template"]["spec"]
    container = spec["containers"][0]
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    if container["image"] != f"zweig:{version}":
        bad(where, f"is of image {container['image']}, this is version {version}")
    if container["command"] != ["/bin/sh", "-ec"]:
        bad(where, "is not started by a shell")
    name, replicas = stateful["metadata"]["name"], stateful["spec"]["replicas"]
    for number in range(replicas + 1):
        # The shell does its part, and prints what it would run.
        script = container["args"][0].replace("exec /usr/bin/zweig", "printf '%s\\n'")
        env = {"PATH": os.environ["PATH"], "POD_NAME": f"{name}-{number}", "POD_NAMESPACE": "zweig"}
        words = subprocess.run(["/bin/sh", "-ec", script], env=env, check=True, capture_output=True, text=True).stdout.splitlines()
        own = f"{name}-{number}.{stateful['spec']['serviceName']}"
        if number < replicas:
            server(binary, f"{where}, pod {number}", words, properties)
            said = properties.read_text() if words[0] == "coordinator" else " ".join(words)
            if not re.search(rf"(server\.{number + 1}=|PLAINTEXT://){re.escape(own)}[.:]", said):
                bad(where, f"nobody is told that pod {number} is at {own}")
        elif words[0] == "coordinator":
            words[words.index("--config") + 1] = str(properties)
            if run(binary, [*words, "--set", f"dataDir={NOWHERE}"])[0] != WRONG_USAGE:
                bad(where, "there are server.N lines for more pods than there are")
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]
        if "exec" in asked:
            command = asked["exec"]["command"]
            tool(binary, f"{where}, {probe}", command[1:])
        elif (asked.get("httpGet") or asked["tcpSocket"])["port"] not in ports:
            bad(where, f"{probe} asks a port that has no name")
    volumes = {volume["name"] for volume in spec["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]}
    if volumes != {mount["name"] for mount in container["volumeMounts"]}:
        bad(where, f"volumes and mounts differ: {volumes}")


def kubernetes(binary, room):
    """Sets, their services, budgets and settings belong together."""
    objects = list(manifests())
    listed = yaml.safe_load((PACKAGING / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    files = {path.name for path in (PACKAGING / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    if set(listed) != files:
        bad("kustomization.yaml", f"lists {listed}, there are {sorted(files)}")
    pods = []
    for where, described in objects:
        if described["kind"] == "StatefulSet":
            spec = described["spec"]
            pods.append(spec["template"]["metadata"]["labels"])
            if spec["selector"]["matchLabels"] != pods[-1]:
                bad(where, "selects other pods than it makes")
            heads = [o["spec"] for _, o in objects if o["kind"] == "Service" and o["metadata"]["name"] == spec["serviceName"]]
            if not heads or heads[0].get("clusterIP") != "None" or heads[0]["selector"] != pods[-1]:
                bad(where, f"{spec['serviceName']} is no headless service of its pods")
            name = described["metadata"]["name"]
            data = [o["data"] for _, o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == name][0]
            (file, text), = data.items()
            (room / file).write_text(text)
            pod(binary, where, described, room / file)
    for where, described in objects:
        chosen = {"Service": lambda o: o["spec"]["selector"], "PodDisruptionBudget": lambda o: o["spec"]["selector"]["matchLabels"]}
        if described["kind"] in chosen and chosen[described["kind"]](described) not in pods:
            bad(where, "selects no pods")


def main():
    """Runs all of it; prints what is wrong."""
    binary, room = sys.argv[1], pathlib.Path(sys.argv[2])
    units(binary)
    dockerfile(binary)
    compose(binary)
    kubernetes(binary, room)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
