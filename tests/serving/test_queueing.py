import asyncio

import pytest

from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.limits import ImageLimits
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.inference.tasks import PredictImages
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.queueing import PredictionQueue
from pneumoscope.serving.tasks import DecodeImages, DrawEvidence
from pneumoscope.types import NamedImage, PredictionRequest, Reason
from poison import Poison


def asked(*images):
    return PredictImages(images)


def images_of(films):
    return [NamedImage(film.name, film.read_bytes()) for film in films]


def run(phantom_bundle, script, workers=1, queue=8, patience=20.0):
    async def main():
        pool = WorkerPool(phantom_bundle, workers, limits=ImageLimits(wall_seconds=patience))
        waiting = PredictionQueue(pool, workers, queue)
        assert not waiting.is_ready
        await waiting.start()
        try:
            return await script(waiting)
        finally:
            await waiting.stop()

    return asyncio.run(main())


def test_many_at_once_are_each_answered_as_alone(phantom_bundle, films):
    images = images_of(films)

    async def script(queue):
        return await asyncio.gather(*(queue.results(asked(image)) for image in images))

    detector = load_detector(phantom_bundle)
    found = run(phantom_bundle, script, workers=2)
    assert [one.to_dict() for [one] in found] == [detector.predict(image).to_dict() for image in images]


@pytest.mark.parametrize("harm", ["crash", "hang"])
def test_an_image_that_ends_or_holds_up_its_process_costs_itself_alone(phantom_bundle, films, harm):
    good = images_of(films[:3])
    images = [good[0], Poison("bad", harm), *good[1:]]

    async def script(queue):
        answers = await asyncio.gather(*(queue.results(asked(image)) for image in images))
        again = await queue.results(asked(good[0]))
        return [one for [one] in answers], again[0], queue.replaced

    answers, again, replaced = run(phantom_bundle, script, patience=2.0)
    assert [answer.file for answer in answers] == [image.name for image in images]
    assert answers[1].reasons == (Reason.UNREADABLE,)
    assert {"crash": "ended the process", "hang": "took more than 2 s"}[harm] in answers[1].detail
    assert all(answer.pneumonia_probability is not None for answer in (answers[0], answers[2], answers[3]))
    assert again.to_dict() == answers[0].to_dict()
    assert replaced == 2


def test_pictures_of_such_an_image_are_refused_too(phantom_bundle):
    async def script(queue):
        tasks = (DecodeImages([Poison("", "crash")]), DrawEvidence([Poison("", "crash")]))
        return [await queue.results(task) for task in tasks]

    for [answer] in run(phantom_bundle, script):
        assert "ended the process" in str(answer)


def test_past_the_queue_callers_are_told_to_come_back(phantom_bundle, films):
    [image] = images_of(films[:1])

    async def script(queue):
        accepted = [asyncio.create_task(queue.results(asked(image))) for _ in range(5)]
        await asyncio.sleep(0)
        assert queue.accepted == 5
        assert not queue.is_ready
        with pytest.raises(ProblemError) as told:
            queue.check_room()
        with pytest.raises(ProblemError):
            await queue.results(asked(image))
        answers = await asyncio.gather(*accepted)
        assert queue.is_ready
        return told.value, answers

    told, answers = run(phantom_bundle, script, queue=4)
    assert told.problem is Problem.BUSY
    assert told.headers["Retry-After"] == "1"
    assert len(answers) == 5


def test_a_stop_answers_what_was_accepted_and_takes_no_more(phantom_bundle, films):
    images = images_of(films)

    async def script(queue):
        accepted = [asyncio.create_task(queue.results(asked(image))) for image in images]
        await asyncio.sleep(0)
        stopping = asyncio.create_task(queue.stop())
        await asyncio.sleep(0)
        with pytest.raises(ProblemError) as told:
            await queue.results(asked(images[0]))
        await stopping
        assert told.value.problem is Problem.STOPPING
        return await asyncio.gather(*accepted)

    assert len(run(phantom_bundle, script)) == len(images)


def test_a_caller_who_left_is_not_predicted_for(phantom_bundle, films):
    images = images_of(films)

    async def script(queue):
        waiting = [asyncio.create_task(queue.results(asked(image))) for image in images]
        await asyncio.sleep(0)
        for task in waiting[1:]:
            task.cancel()
        [answer] = await waiting[0]
        assert queue.accepted == 0
        return answer

    assert run(phantom_bundle, script).file == images[0].name


def test_an_error_of_ours_reaches_who_waits_and_the_next_is_predicted(phantom_bundle, films):
    [image] = images_of(films[:1])

    async def script(queue):
        with pytest.raises(Exception, match="operating point"):
            await queue.results(PredictImages([image], PredictionRequest("bold")))
        return await queue.results(asked(image))

    assert run(phantom_bundle, script)[0].file == image.name
