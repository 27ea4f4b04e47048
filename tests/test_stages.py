"""Stages: timed, digested, refused when it is too late, and named in what goes wrong in them."""

import time

import pytest

from rag_service.cancellation import Cancellation
from rag_service.errors import Cancelled, DeadlineExceeded, GeneratorFailed
from rag_service.stages import Stages, named
from rag_service.telemetry.spans import current_span, in_a_trace, stage_span_id


def test_a_stage_that_is_done_has_its_digest_and_its_time() -> None:
    stages = Stages(None, None)
    with stages.stage("embed") as output:
        output("sha256:one")
    with stages.stage("retrieve") as output:
        output("sha256:two")
    assert [(stage.name, stage.digest) for stage in stages.done] == [("embed", "sha256:one"), ("retrieve", "sha256:two")]
    assert all(stage.duration_ms >= 0 for stage in stages.done)


def test_the_timings_are_those_of_the_stages_and_a_total_that_holds_them() -> None:
    stages = Stages(None, None)
    with stages.stage("embed") as output:
        time.sleep(0.002)
        output("sha256:one")
    timings = stages.timings_ms()
    assert list(timings) == ["embed", "total"]
    assert timings["total"] >= timings["embed"] >= 2


def test_a_stage_that_failed_is_not_done_and_the_error_names_it() -> None:
    stages = Stages(None, None)
    with pytest.raises(GeneratorFailed) as caught, stages.stage("generate"):
        raise GeneratorFailed("gone")
    assert caught.value.stage == "generate"
    assert stages.done == ()


def test_the_stage_of_an_error_is_the_one_that_was_under_way_whatever_the_part_calls_its_own() -> None:
    with pytest.raises(DeadlineExceeded) as caught, Stages(None, None).stage("condense"):
        raise DeadlineExceeded("over", stage="generate")
    assert caught.value.stage == "condense"


def test_an_error_that_is_not_ours_passes_through_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), named("embed"):
        _ = 1 / 0


def test_no_stage_begins_after_the_deadline() -> None:
    stages = Stages(time.monotonic() - 0.001, None)
    with pytest.raises(DeadlineExceeded, match="before stage 'prompt'") as caught, stages.stage("prompt"):
        pytest.fail("it began")
    assert caught.value.stage == "prompt"


def test_no_stage_begins_for_nobody() -> None:
    cancellation = Cancellation()
    stages = Stages(None, cancellation)
    stages.check("embed")
    cancellation.cancel()
    with pytest.raises(Cancelled) as caught, stages.stage("retrieve"):
        pytest.fail("it began")
    assert caught.value.stage == "retrieve"


def test_what_was_timed_elsewhere_can_be_added() -> None:
    stages = Stages(None, None)
    stages.add("embed", "sha256:one", began_s=time.perf_counter() + 1, duration_s=0.0123456)
    [stage] = stages.done
    assert (stage.name, stage.digest, stage.duration_ms) == ("embed", "sha256:one", 12.346)
    assert 1000 <= stage.began_ms < 2000


def test_a_stage_begins_after_the_one_before_it_has_ended() -> None:
    stages = Stages(None, None)
    for name in ("embed", "retrieve"):
        with stages.stage(name) as output:
            output("sha256:one")
    first, second = stages.done
    assert 0 <= first.began_ms <= first.began_ms + first.duration_ms <= second.began_ms + 0.001
    assert second.began_ms + second.duration_ms <= stages.now_ms() + 0.001


def test_what_was_timed_before_the_answer_began_does_not_begin_before_it() -> None:
    before_s = time.perf_counter()
    stages = Stages(None, None)
    stages.add("embed", "sha256:one", began_s=before_s - 1, duration_s=0.001)
    assert stages.done[0].began_ms == 0


def test_the_beginning_of_a_stage_that_failed_is_known() -> None:
    stages = Stages(None, None)
    assert stages.under_way_ms is None
    with stages.stage("embed") as output:
        output("sha256:one")
    assert stages.under_way_ms is None
    with pytest.raises(GeneratorFailed), stages.stage("generate"):
        raise GeneratorFailed("gone")
    assert stages.under_way_ms is not None
    assert stages.done[0].began_ms <= stages.under_way_ms <= stages.now_ms()


def test_what_a_stage_does_has_a_span_of_its_own_for_a_parent() -> None:
    stages = Stages(None, None)
    with in_a_trace() as outer, stages.stage("embed") as output:
        inner = current_span()
        output("sha256:one")
    assert inner is not None
    assert inner.trace_id == outer.trace_id
    assert inner.span_id == stage_span_id(outer.span_id, "embed") != outer.span_id
