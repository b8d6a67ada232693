"""Options of `any_guardrail`: those of the library's guards, as it describes them.

The library publishes names, types and variables of every guard's parameters, without
loading one: a new guard's options are known here without a new version of this plugin.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, make_dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safebench import Capabilities
from safebench.errors import ModelError, OptionError, did_you_mean, unknown_name
from safebench.records import TASKS
from safebench.services import RequestOptions

from .guards import GUARDS, Guard
from .options import ONE_PROCESS

if TYPE_CHECKING:
    from collections.abc import Mapping

LIBRARY = "any-guardrail"
INSTALL = f"pip install 'safebench-any-guardrail[guards]', which brings {LIBRARY}"
# the judged text and its response, which come from the data
FROM_SAMPLES = frozenset({"output_text", "output", "user_prompt"})
# objects of Python, which no text can name
OBJECTS = frozenset({"boto3_session", "api_client", "session", "tokenizer", "metric"})
RENAMED = {"model_id": "model", "policy": "guard_policy"}  # `policy` is a taxonomy here
FILE = "file:"


@dataclass(frozen=True, kw_only=True)
class BaseGuardOptions(RequestOptions):
    """`guard` names one of any-guardrail; `model` one of its models.

    `task` says what a guard judges that follows a policy or rubric of yours, and
    `score` what the score of a guard means that this plugin does not know: ``risk``
    (higher is worse), ``safety`` (higher is better) or ``none`` (its verdict counts
    alone). All others are parameters of the guard, under the library's names but for
    `guard_policy`, which it calls policy; texts may stand in a file: ``file:PATH``.
    """

    guard: str = ""
    model: str = ""
    task: str = ""
    score: Literal["auto", "risk", "safety", "none"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task and self.task not in TASKS:
            hint = did_you_mean(self.task, TASKS)
            raise ValueError(f"task is {self.task!r}{hint}; {', '.join(TASKS)}")

    @property
    def policy(self) -> str | None:
        """The taxonomy of the guard's categories, where there is one here."""
        return "openai-moderation-13" if self.guard == "openai_moderation" else None

    @property
    def parameters(self) -> dict[str, Any]:
        """The guard's own parameters that were given."""
        common = {f.name for f in fields(BaseGuardOptions)} - {"model"}
        values = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in common
        }
        return {k: v for k, v in values.items() if v is not None and v != ""}


def _options_class() -> type[BaseGuardOptions]:
    """Return the options with a field for each parameter of the installed library."""
    try:
        from any_guardrail import AnyGuardrail, GuardrailName
    except ImportError:
        return BaseGuardOptions
    names = {
        RENAMED.get(spec.name, spec.name)
        for guard in GuardrailName
        for spec in AnyGuardrail.get_parameter_schema(guard)
        if _is_option(spec)
    } - {f.name for f in fields(BaseGuardOptions)}
    return make_dataclass(
        "GuardOptions",
        [(name, Any, field(default=None)) for name in sorted(names)],
        bases=(BaseGuardOptions,),
        frozen=True,
        kw_only=True,
        namespace={"__doc__": BaseGuardOptions.__doc__, "__module__": __name__},
    )


def _is_option(spec: Any) -> bool:
    """Tell whether a parameter can be an option: no key, no object, no sample's text.

    Keys come from the environment alone: options are stored with each run.
    """
    return not spec.secret and spec.name not in OBJECTS | FROM_SAMPLES


GuardOptions = _options_class()


def library_version() -> str:
    """Return the installed version of any-guardrail; raise `ModelError` without one."""
    try:
        return version(LIBRARY)
    except PackageNotFoundError:
        raise ModelError(f"any_guardrail needs {LIBRARY}: {INSTALL}") from None


def identity(options: BaseGuardOptions) -> dict[str, Any]:
    """Return the guard, its model, its parameters and the library that reads them.

    Addresses from the environment count, keys do not.
    """
    installed = library_version()
    name, (create, validate) = guard_arguments(options)
    guard_reading(options)
    model = create.get("model_id") or validate.get("model_id") or _default_model(name)
    return {
        "model": f"{name}: {model}" if model else name,
        "guard": name,
        "library": f"{LIBRARY} {installed}",
        "create": create,
        "validate": validate,
        "environment": _addresses(name),
        "task": options.task,
        "score": options.score,
    }


def capabilities(options: BaseGuardOptions) -> Capabilities:
    """Return the tasks of the guard that the options name, and its taxonomy."""
    guard_arguments(options)
    reading = guard_reading(options)
    counted = reading.hosted or options.max_requests is not None
    return Capabilities(
        tasks=frozenset(reading.tasks),
        policy=options.policy,
        one_process=ONE_PROCESS if counted else "",
    )


def guard_arguments(
    options: BaseGuardOptions,
) -> tuple[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return the guard's name, and what `create` and `validate` are called with.

    Raises `UnknownNameError` for a guard that the library does not have, and
    `OptionError` for parameters that are not this guard's, of another type, or missing.
    """
    library_version()
    from any_guardrail import AnyGuardrail, GuardrailName

    names = [guard.value for guard in GuardrailName]
    if not options.guard:
        raise OptionError(
            f"any_guardrail: say which guard: guard=NAME\n  there is: "
            f"{', '.join(sorted(names))}"
        )
    if options.guard not in names:
        raise unknown_name("guard of any-guardrail", options.guard, names)
    name = GuardrailName(options.guard)
    schema = [s for s in AnyGuardrail.get_parameter_schema(name) if _is_option(s)]
    given = options.parameters
    known = {RENAMED.get(spec.name, spec.name) for spec in schema}
    for key in given:
        if key not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise OptionError(
                f"any_guardrail, guard={options.guard}: it has no {key!r}"
                f"{did_you_mean(key, known)}\n  its parameters: {listed}"
            )
    create: dict[str, Any] = {}
    validate: dict[str, Any] = {}
    for spec in schema:
        key = RENAMED.get(spec.name, spec.name)
        stage = create if str(spec.stage) == "create" else validate
        if key in given and not (stage is validate and spec.name in create):
            where = f"any_guardrail, guard={options.guard}, {key}"
            stage[spec.name] = _argument(name, spec, given[key], where)
        elif spec.required:
            raise OptionError(_missing(options.guard, key, spec))
    return options.guard, (create, validate)


def guard_reading(options: BaseGuardOptions) -> Guard:
    """Return how to read the guard, with the tasks that it answers here.

    Raises `OptionError` where that is not known and the options do not say.
    """
    guard = GUARDS.get(options.guard)
    if guard is None:
        guard = _unknown_guard(options)
    if options.task and guard.tasks and options.task not in guard.tasks:
        raise OptionError(
            f"any_guardrail, guard={options.guard}: it answers "
            f"{', '.join(guard.tasks)}, not {options.task}"
        )
    tasks = (options.task,) if options.task else guard.tasks
    if not tasks:
        raise OptionError(
            f"any_guardrail, guard={options.guard}: what it judges depends on what you "
            f"give it: say task=..., one of {', '.join(TASKS)}"
        )
    return replace(guard, tasks=tasks)


def _unknown_guard(options: BaseGuardOptions) -> Guard:
    """Return how to read a guard that the library has and `GUARDS` has not."""
    from any_guardrail import AnyGuardrail, GuardrailName

    if options.score == "auto":
        raise OptionError(
            f"any_guardrail, guard={options.guard}: what its score means was not read "
            f"for this version of {LIBRARY}: say score=risk (higher is worse), "
            "score=safety (higher is better) or score=none (its verdict counts alone)"
        )
    metadata = AnyGuardrail.metadata(GuardrailName(options.guard))
    return Guard(
        scale=None if options.score == "none" else "score",
        pair="output_text" in metadata.optional_validate_kwargs,
        hosted=str(metadata.backend) == "hosted_api",
    )


def _missing(guard: str, key: str, spec: Any) -> str:
    first, _, _ = (spec.description or "").partition(". ")
    about = f" ({first[:120].rstrip('.')})" if first else ""
    choices = f"; such as {', '.join(spec.choices[:6])}" if spec.choices else ""
    return f"any_guardrail, guard={guard}: it needs {key}=...{about}{choices}"


def _argument(name: Any, spec: Any, value: Any, where: str) -> Any:
    """Return an option's text or YAML value as the parameter's type."""
    import yaml

    if isinstance(value, str) and value.startswith(FILE):
        path = Path(value.removeprefix(FILE)).expanduser()
        try:
            value = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"{where}: cannot read {path}: {error}") from None
    kind = str(spec.type)
    if kind in ("string", "enum"):
        return _published_text(name, spec.name, str(value))
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value)
        except yaml.YAMLError:
            raise OptionError(f"{where}: {value!r:.60} is no YAML") from None
    allowed: dict[str, tuple[type, ...]] = {
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
    }
    expected = allowed.get(kind)
    is_bool = isinstance(value, bool)
    if expected and (not isinstance(value, expected) or is_bool != (kind == "boolean")):
        raise OptionError(f"{where}: {value!r:.60} is no {kind}")
    return value


def _published_text(name: Any, parameter: str, value: str) -> str:
    """Return a policy, rubric or criterion that the library publishes, by its key.

    The guards themselves take texts alone: the key would be judged by as if it were
    the policy.
    """
    from any_guardrail import AnyGuardrail

    published = {
        "policy": (AnyGuardrail.list_policies, AnyGuardrail.get_policy),
        "rubric": (AnyGuardrail.list_rubrics, AnyGuardrail.get_rubric),
        "criteria": (AnyGuardrail.list_criteria, AnyGuardrail.get_criteria),
    }
    if parameter not in published:
        return value
    keys, text = published[parameter]
    return text(name, value) if value in keys(name) else value


def _default_model(guard: str) -> str:
    """Return a guard's first model, where the library says it without loading."""
    from any_guardrail import AnyGuardrail, GuardrailName

    for spec in AnyGuardrail.get_parameter_schema(GuardrailName(guard)):
        if spec.name == "model_id":
            return str(spec.default or (spec.choices or ("",))[0])
    return ""


def _addresses(guard: str) -> Mapping[str, str]:
    """Return the variables, other than keys, that say who is asked."""
    from any_guardrail import AnyGuardrail, GuardrailName

    schema = AnyGuardrail.get_parameter_schema(GuardrailName(guard))
    names = {s.env_var for s in schema if s.env_var and not s.secret}
    if "OPENAI_API_KEY" in (GUARDS[guard].keys if guard in GUARDS else ()):
        names.add("OPENAI_BASE_URL")
    return {name: os.environ[name] for name in sorted(names) if name in os.environ}
