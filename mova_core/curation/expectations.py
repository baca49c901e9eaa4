"""Great Expectations, kept behind one function: expectations over a table in, what failed where out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mova_core.errors import UserError

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Expectation:
    """One expectation.

    Attributes
    ----------
    name : how results are told apart; unique within a call.
    kind : the class in ``great_expectations.expectations``.
    arguments : its arguments, such as ``column`` and ``max_value``.
    """

    name: str
    kind: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one expectation.

    Attributes
    ----------
    expectation : the one asked for.
    passed : whether the whole table meets it.
    failing : the ids of all rows that do not; empty for expectations about the table as a whole.
    observed : what was found, in words.
    """

    expectation: Expectation
    passed: bool
    failing: tuple[str, ...]
    observed: str


def evaluate(table: pandas.DataFrame, id_column: str, expectations: Sequence[Expectation]) -> list[Outcome]:
    """Evaluates expectations over a table whose rows `id_column` names. Empty values (NaN) are never unexpected.

    Raises
    ------
    UserError : if Great Expectations is not installed.
    """
    gx = _import_great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("mova").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": table})
    suite = gx.ExpectationSuite(
        name="mova",
        expectations=[
            getattr(gx.expectations, expectation.kind)(meta={"name": expectation.name}, **expectation.arguments)
            for expectation in expectations
        ],
    )
    result = batch.validate(
        suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [id_column]}
    )
    by_name = {found.expectation_config.meta["name"]: found for found in result.results}
    return [_outcome(expectation, by_name[expectation.name], id_column) for expectation in expectations]


def _outcome(expectation: Expectation, found: Any, id_column: str) -> Outcome:
    _raise_what_it_swallowed(expectation, found.exception_info)
    failing = tuple(str(row[id_column]) for row in found.result.get("unexpected_index_list") or [])
    if failing:
        shown = ", ".join(failing[:3])
        observed = f"{len(failing)} of {found.result['element_count']} rows fail, such as {shown}"
    elif "element_count" in found.result:
        observed = f"all {found.result['element_count']} rows"
    else:
        observed = str(found.result.get("observed_value", ""))
    return Outcome(expectation, bool(found.success), failing, observed)


def _raise_what_it_swallowed(expectation: Expectation, info: Any) -> None:
    """The library reports errors of its own as failed expectations, once for each metric that it could not compute."""
    for part in [info, *(value for value in info.values() if isinstance(value, dict))]:
        if part.get("raised_exception"):
            raise RuntimeError(f"expectation {expectation.name} was not evaluated: {part['exception_message']}")


def _import_great_expectations() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it imports a module that Python deprecates
            import great_expectations
    except ImportError as error:
        raise UserError(
            "Great Expectations is not installed",
            expected="the package `great-expectations`, which applies the gates",
            remedy="run `pip install 'mova-lineage[curation]'`",
        ) from error
    return great_expectations
