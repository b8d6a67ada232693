"""The plugin's declaration: one executor, as an inert spec."""

from __future__ import annotations

from safebench import ExecutorSpec, hookimpl


@hookimpl
def safebench_executors() -> list[ExecutorSpec]:
    """Offer the actors of a Ray cluster."""
    return [
        ExecutorSpec(
            name="ray",
            summary="actors of a Ray cluster, on one machine or many, one model each",
            load="safebench_ray.executor:RayExecutor",
            options="safebench_ray.options:RayOptions",
        )
    ]
