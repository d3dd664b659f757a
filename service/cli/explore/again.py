"""The command that makes a picture again."""

from __future__ import annotations

import shlex

import typer

NOT_SHOWN = ("api", "as_json")  # decide nothing in the picture


def again(context: typer.Context) -> str:
    """Return the command line of a verb, with what was typed for it."""
    root = context.find_root().command_path  # however the program was started
    words = ["mintage", *context.command_path.removeprefix(root).split()]
    verb, arguments = len(words), list[str]()
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name in NOT_SHOWN:
            continue
        value = context.params[name]
        if parameter.param_type_name == "argument":
            arguments += map(str, value if isinstance(value, list | tuple) else [value])
        elif isinstance(value, bool):
            words.append(parameter.opts[0] if value else parameter.secondary_opts[0])
        else:
            for each in value if isinstance(value, list | tuple) else [value]:
                words += [max(parameter.opts, key=len), str(each)]
    options = words[verb:]
    dashed = any(each.startswith("-") for each in arguments)
    return shlex.join(words[:verb] + ([*options, "--", *arguments] if dashed else arguments + options))
