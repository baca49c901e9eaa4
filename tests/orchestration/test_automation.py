"""The sensor that takes up new folders and the nightly schedule."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from orchestration.automation import new_collection, nightly_recuration
from orchestration.definitions import defs
from orchestration.partitions import COLLECTIONS, add_collections
from orchestration.resources import LineageFolder


def look(folder: LineageFolder, instance: dg.DagsterInstance, cursor: str | None) -> tuple[list[str], str | None]:
    """One tick: the collections asked for, whose partitions are added as Dagster would, and the cursor for the next."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    result = new_collection(context, folder=folder)
    assert isinstance(result, dg.SensorResult)
    for request in result.dynamic_partitions_requests or []:
        add_collections(instance, request.partition_keys)
    asked = [str(request.partition_key) for request in result.run_requests or []]
    assert asked == [key for request in result.dynamic_partitions_requests or [] for key in request.partition_keys]
    return asked, result.cursor


def put(folder: LineageFolder, name: str) -> Path:
    path = folder.workspace().raw(name) / "a.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"video")
    return path


def test_a_new_folder_is_taken_up_once_it_has_settled(folder: LineageFolder, instance: dg.DagsterInstance) -> None:
    path = put(folder, "mine")
    asked, cursor = look(folder, instance, None)
    assert asked == []
    path.write_bytes(b"video, still being copied")
    asked, cursor = look(folder, instance, cursor)
    assert asked == []
    asked, cursor = look(folder, instance, cursor)
    assert asked == ["mine"]
    assert instance.get_dynamic_partitions(str(COLLECTIONS.name)) == ["mine"]
    asked, cursor = look(folder, instance, cursor)
    assert asked == [], "it is known now"


def test_known_empty_and_badly_named_folders_wait(folder: LineageFolder, instance: dg.DagsterInstance) -> None:
    put(folder, "demo")
    put(folder, "my videos")
    put(folder, "..hidden")
    folder.workspace().raw("empty").mkdir()
    add_collections(instance, ["demo"])
    _, cursor = look(folder, instance, None)
    asked, _ = look(folder, instance, cursor)
    assert asked == []
    assert instance.get_dynamic_partitions(str(COLLECTIONS.name)) == ["demo"]


def test_no_raw_folder_at_all_is_fine(folder: LineageFolder, instance: dg.DagsterInstance) -> None:
    assert look(folder, instance, None)[0] == []


def test_a_link_that_leads_nowhere_does_not_stop_the_sensor(
    folder: LineageFolder, instance: dg.DagsterInstance
) -> None:
    put(folder, "mine")
    os.symlink("nowhere", folder.workspace().raw("mine") / "broken.mp4")
    _, cursor = look(folder, instance, None)
    assert look(folder, instance, cursor)[0] == ["mine"]


def test_every_night_asks_for_each_collection_once() -> None:
    night = datetime(2030, 1, 2, 2, 0, tzinfo=UTC)
    with dg.instance_for_test() as instance:
        add_collections(instance, ["footage", "demo"])
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=night, repository_def=defs.get_repository_def()
        )
        data = nightly_recuration.evaluate_tick(context)
    requests = data.run_requests or []
    assert [request.partition_key for request in requests] == ["demo", "footage"]
    assert [request.run_key for request in requests] == ["2030-01-02/demo", "2030-01-02/footage"]
    assert nightly_recuration.default_status == dg.DefaultScheduleStatus.STOPPED
