"""The durable queue: what was acknowledged is answered, whatever ends the process meanwhile."""

import itertools
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing

import pytest

from clock import Clock
from pneumoscope.errors import ConfigError
from pneumoscope.pacs.queue import FIRST_PAUSE, LONGEST_PAUSE, Arrival, Queue, State

PREDICTION = {"decision": "normal", "pneumonia_probability": 0.1}


@pytest.fixture
def clock():
    return Clock(1_700_000_000.0)


@pytest.fixture
def queue(tmp_path, clock):
    opened = Queue(tmp_path, clock)
    yield opened
    opened.close()


def arrival(number=1):
    return Arrival(f"1.2.{number}", "1.2", f"A{number}", "p" * 16, "2024-01-02", "PACS")


def added(queue, number=1, content=b"image"):
    assert queue.add(content, arrival(number))
    return next(image for image in queue.waiting(100) if image.sop_uid == f"1.2.{number}")


def answer(queue, image, destinations=("PACS",)):
    image.answer("sr").write_bytes(b"report")
    return queue.answered(image, PREDICTION, destinations)


def files(queue):
    return sorted(each.suffix for each in (queue._files).iterdir())


def test_an_image_goes_through_and_leaves_a_record_without_files(queue):
    image = added(queue)
    assert image.file.read_bytes() == b"image"
    assert stat.S_IMODE(image.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(image.file.parent.stat().st_mode) == 0o700
    assert answer(queue, image)
    assert queue.waiting(10) == []
    [delivery] = queue.deliveries("PACS", 10)
    assert delivery.image.answer("sr").read_bytes() == b"report"
    assert queue.delivered(delivery)
    assert files(queue) == []
    assert queue.counts()["delivered"] == 1
    [record] = queue.answers()
    assert (record["accession"], record["prediction"]) == ("A1", PREDICTION)


def test_an_image_has_its_files_until_the_last_destination_has_its_answers(queue):
    answer(queue, added(queue), ["ONE", "OTHER"])
    [first], [second] = queue.deliveries("ONE", 10), queue.deliveries("OTHER", 10)
    assert not queue.delivered(first)
    assert files(queue) == [".dcm", ".sr"]
    assert queue.delivered(second)
    assert files(queue) == []


def test_in_silent_mode_nothing_goes_out_and_no_file_stays(queue):
    image = added(queue)
    image.answer("sr").write_bytes(b"report")
    assert queue.answered(image, PREDICTION | {"stands_for": "normal", "reasons": []}, [])
    assert files(queue) == []
    assert (queue.counts()["kept"], queue.counts()["delivered"]) == (1, 0)
    [found] = queue.status().latest
    assert (found.kept, found.delivered) == (True, None)


def test_answers_that_were_sent_are_told_from_those_that_were_kept(queue):
    made = PREDICTION | {"stands_for": "normal", "reasons": [], "outside": False, "bundle": {"sha256": "b" * 64}}
    silent = made | {"answers": []}
    assert queue.answered(added(queue, 1), silent, [])
    assert queue.answered(added(queue, 2), made | {"answers": ["sr", "sc"]}, ["PACS"])
    assert [each.sent for each in queue.silent_answers()] == [False, True]
    [delivery] = queue.deliveries("PACS", 10)
    queue.delivered(delivery)
    # Sent again to the node, which is silent now: the first answer was seen.
    assert queue.answered(added(queue, 2), silent, [])
    assert {each.sop_uid: each.sent for each in queue.silent_answers()} == {"1.2.1": False, "1.2.2": True}


def test_an_image_that_is_sent_again_is_answered_again_once(queue):
    image = added(queue)
    assert queue.add(b"the same again", arrival())  # before it is analysed
    [again] = queue.waiting(10)
    assert again.file.read_bytes() == b"the same again"
    assert not answer(queue, image), "the answer to the first is out of date"
    assert files(queue) == [".dcm"]
    assert answer(queue, again)
    assert not queue.add(b"the same again", arrival()), "its answers are on their way"
    [delivery] = queue.deliveries("PACS", 10)
    queue.delivered(delivery)
    assert queue.add(b"once more", arrival())
    assert len(queue.waiting(10)) == 1
    assert queue.counts()["waiting"] == 1


def test_an_image_that_nobody_sent_is_kept_only_where_it_is_unknown(queue):
    assert queue.add(b"found", arrival(), if_unknown=True)
    assert not queue.add(b"found again", arrival(), if_unknown=True), "it waits"
    [image] = queue.waiting(10)
    assert image.file.read_bytes() == b"found"
    answer(queue, image, [])
    assert not queue.add(b"found again", arrival(), if_unknown=True), "it is answered"
    assert queue.waiting(10) == []
    assert files(queue) == []
    assert queue.add(b"sent", arrival()), "whoever sends it misses the answer"


def test_what_was_left_out_or_dropped_is_known_for_its_time(queue, clock):
    queue.leave_out("1.2.1")
    queue.failed(added(queue, 2), "why", 1)
    queue.drop([image.id for image, _ in queue.dead()])
    for number in (1, 2):
        assert queue.is_known(f"1.2.{number}")
        assert not queue.add(b"found", arrival(number), if_unknown=True)
    assert not queue.is_known("1.2.3")
    for _ in range(3):
        clock.now += 3 * 86400
        queue.forget(10)
    assert queue.is_known("1.2.1")
    queue.forget(8)
    assert not queue.is_known("1.2.1")
    assert not queue.is_known("1.2.2")
    assert queue.add(b"sent", arrival(1))


def test_pauses_grow_and_after_so_many_tries_an_image_is_set_aside_until_it_is_replayed(queue, clock):
    added(queue)
    pauses = []
    for attempt in range(4):
        [image] = queue.waiting(10)
        assert queue.failed(image, "no memory", 4) is (attempt == 3)
        begun = clock.now
        while attempt < 3 and not queue.waiting(10):
            clock.now += 0.25
        pauses.append(clock.now - begun)
    assert all(0.75 * FIRST_PAUSE * 2**n <= p <= 1.25 * FIRST_PAUSE * 2**n + 0.25 for n, p in enumerate(pauses[:3]))
    [(dead, destination)] = queue.dead()
    assert (dead.error, dead.state, destination) == ("no memory", State.DEAD, "")
    clock.now += 10 * LONGEST_PAUSE
    assert queue.waiting(10) == []
    assert queue.replay([dead.id + 1]) == 0
    assert queue.replay([dead.id]) == 1
    assert len(queue.waiting(10)) == 1


def test_a_delivery_that_is_not_taken_is_set_aside_and_the_others_go_on(queue, clock):
    answer(queue, added(queue), ["ONE", "OTHER"])
    [refused] = queue.deliveries("ONE", 10)
    assert queue.not_delivered(refused, "status A700", 1)
    assert queue.deliveries("ONE", 10) == []
    [taken] = queue.deliveries("OTHER", 10)
    assert not queue.delivered(taken)
    [(image, destination)] = queue.dead()
    assert (destination, image.error) == ("ONE", "status A700")
    assert queue.counts()["dead to ONE"] == 1
    assert queue.replay() == 1
    [again] = queue.deliveries("ONE", 10)
    assert queue.delivered(again)


def test_what_was_set_aside_can_be_dropped_and_nothing_else(queue):
    image = added(queue)
    assert queue.drop([image.id]) == 0
    queue.failed(image, "why", 1)
    assert queue.drop([image.id]) == 1
    assert files(queue) == []


def test_acts_on_what_was_set_aside_wait_for_the_audit_log(tmp_path, queue, clock):
    queue.failed(added(queue, 1), "why", 1)
    answer(queue, added(queue, 2), ["ONE", "OTHER"])
    [delivery] = queue.deliveries("OTHER", 10)
    queue.not_delivered(delivery, "why", 1)
    by_a_person = Queue(tmp_path, clock)
    first, second = [image.id for image, _ in queue.dead()]
    assert by_a_person.replay([first]) == by_a_person.drop([second]) == 1
    assert by_a_person.replay() == by_a_person.drop([first, second]) == 0
    by_a_person.close()
    acts = queue.acts()
    assert [(act.act, act.sop_uid, act.destination) for act in acts] == [
        ("replayed", "1.2.1", ""),
        ("dropped", "1.2.2", ""),
    ]
    queue.audited(acts[:1])
    assert queue.acts() == acts[1:]
    answer(queue, queue.waiting(10)[0], ["OTHER"])
    queue.not_delivered(queue.deliveries("OTHER", 10)[0], "why", 1)
    assert queue.replay() == 1
    assert [(act.act, act.destination) for act in queue.acts()] == [("dropped", ""), ("replayed", "OTHER")]


def test_a_clock_that_goes_back_stops_nothing(queue, clock):
    image = added(queue)
    clock.now += 86400 * 365
    queue.failed(image, "why", 9)
    clock.now -= 86400 * 365
    assert [each.id for each in queue.waiting(10)] == [image.id]


def test_answers_that_were_lost_are_made_again(queue):
    image = added(queue)
    answer(queue, image)
    [delivery] = queue.deliveries("PACS", 10)
    queue.again(delivery.image)
    assert queue.deliveries("PACS", 10) == []
    assert [each.id for each in queue.waiting(10)] == [image.id]


def test_records_are_forgotten_after_their_time_and_images_on_their_way_are_not(queue, clock):
    answer(queue, added(queue, 1), [])
    added(queue, 2)
    for _ in range(8):
        clock.now += 86400
        assert queue.forget(8) == 0
    clock.now += 86400
    answer(queue, added(queue, 3), [])
    assert queue.forget(8) == 1
    assert [record["sop_uid"] for record in queue.answers()] == ["1.2.3"]
    assert queue.counts()["waiting"] == 1


@pytest.mark.parametrize("jumps", [(19_000,), (400,), (400, -400), (-19_000, 19_000)], ids=str)
def test_a_clock_that_is_put_right_or_wrong_erases_nothing(tmp_path, clock, jumps):
    """Days by which it jumps; a record is made before, and one after each jump."""
    with closing(Queue(tmp_path, clock)) as queue:
        answer(queue, added(queue), [])
        for number, days in enumerate(jumps, 2):
            clock.now += 86400 * days
            answer(queue, added(queue, number), [])
            for _ in range(100):
                clock.now += 86400
                assert queue.forget(365) == 0
    with closing(Queue(tmp_path, clock)) as queue:
        for _ in range(26):
            assert len(list(queue.answers())) == len(jumps) + 1
            clock.now += 10 * 86400
            queue.forget(365)
        for _ in range(40):
            clock.now += 10 * 86400
            queue.forget(365)
        assert list(queue.answers()) == [], "once it is right they are forgotten, twice the time later at most"


def test_a_node_that_is_off_at_night_and_at_weekends_forgets(queue, clock):
    answer(queue, added(queue), [])
    for hours in (14, 10, 62):
        clock.now += 3600 * hours
        queue.forget(1)
    assert list(queue.answers()) == []


def test_a_full_disk_keeps_nothing_half(queue, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        queue.add(b"image", arrival())
    assert files(queue) == []
    assert queue.waiting(10) == []


def test_files_that_no_image_has_are_deleted_and_others_stay(tmp_path, queue):
    image = added(queue)
    (queue._files / "f00.dcm").write_bytes(b"left by a killed process")
    (queue._files / "f00.sr").write_bytes(b"left by a killed process")
    queue.delete_orphans()
    assert [each.name for each in queue._files.iterdir()] == [image.file.name]


def test_a_folder_that_is_a_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "node").write_text("")
    with pytest.raises(ConfigError, match="expected a folder for the node"):
        Queue(tmp_path / "node")


def test_counts_are_kept(tmp_path, queue):
    queue.count("ignored")
    queue.count("ignored")
    assert queue.counts()["ignored"] == 2


_WRITER = """
import sys
from pathlib import Path
from pneumoscope.pacs.queue import Arrival, Queue
queue = Queue(Path(sys.argv[1]))
number = int(sys.argv[2])
while True:
    queue.add(number.to_bytes(4, "big") * 1000, Arrival(f"1.2.{number}", "1.2", "", "", "", "PACS"))
    print(number, flush=True)
    number += 1
"""


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path):
    acknowledged, number = set(), 0
    for pause in (0.05, 0.11, 0.17, 0.23):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, tmp_path, str(number)], stdout=subprocess.PIPE, text=True
        ) as process:
            # At any moment of its work, however fast it is.
            first = [process.stdout.readline() for _ in range(2)]
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            said = [*first, *process.stdout.read().split("\n")]
        acknowledged |= {int(line) for line in said if line.strip()}
        number = max(acknowledged) + 1
        queue = Queue(tmp_path)
        queue.delete_orphans()
        waiting = {image.sop_uid: image for image in queue.waiting(100_000)}
        for each in acknowledged:
            assert waiting[f"1.2.{each}"].file.read_bytes() == each.to_bytes(4, "big") * 1000
        assert len(waiting) - len(acknowledged) in range(5), "one at most was kept and not acknowledged, for each kill"
        assert {file.name for file in queue._files.iterdir()} == {image.file.name for image in waiting.values()}
        queue.close()
    assert sqlite3.connect(tmp_path / "queue.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(list(itertools.chain(acknowledged))) > 4


def test_deliveries_that_a_connection_has_taken_on_are_left_out(queue):
    images = [added(queue, number) for number in range(1, 4)]
    for image in images:
        answer(queue, image)
    taken = [each.image.id for each in queue.deliveries("PACS", 1)]
    assert [each.image.id for each in queue.deliveries("PACS", 10, taken)] == [image.id for image in images[1:]]


def test_an_image_with_another_header_is_answered_again_though_answers_are_on_their_way(queue):
    answer(queue, added(queue))
    assert queue.add(b"corrected", arrival())
    assert queue.deliveries("PACS", 10) == [], "the answers to what was sent before"
    [image] = queue.waiting(10)
    assert image.file.read_bytes() == b"corrected"


def test_an_image_whose_answers_were_set_aside_is_answered_again_when_it_is_sent_again(queue):
    answer(queue, added(queue))
    [delivery] = queue.deliveries("PACS", 10)
    assert queue.not_delivered(delivery, "refused", 1)
    assert queue.add(b"image", arrival())
    assert len(queue.waiting(10)) == 1


def test_what_nobody_is_to_blame_for_is_tried_for_ever_after_growing_pauses(queue, clock):
    added(queue)
    for _ in range(40):
        [image] = queue.waiting(10)
        assert not queue.failed(image, "the disk is full", None)
        assert queue.waiting(10) == []
        clock.now += 1.3 * LONGEST_PAUSE
    answer(queue, image)
    for _ in range(40):
        [delivery] = queue.deliveries("PACS", 10)
        assert not queue.not_delivered(delivery, "no answer", None)
        clock.now += 1.3 * LONGEST_PAUSE


def test_answers_go_where_the_settings_say_now(queue):
    answer(queue, added(queue, 1), ["OLD"])
    answer(queue, added(queue, 2), ["OLD", "PACS"])
    answer(queue, added(queue, 3), ["PACS"])
    assert queue.readdress(["PACS", "dicomweb"]) == 2
    assert queue.deliveries("OLD", 10) == []
    assert [each.image.sop_uid for each in queue.deliveries("PACS", 10)] == ["1.2.1", "1.2.2", "1.2.3"]
    assert [each.image.sop_uid for each in queue.deliveries("dicomweb", 10)] == ["1.2.1", "1.2.2"]


def test_an_image_that_is_sent_again_keeps_its_answer_and_its_times_until_there_is_another(queue, clock):
    def answered(bundle):
        [image] = queue.waiting(10)
        queue.answered(image, PREDICTION | {"bundle": bundle}, [])
        [record] = queue.answers()
        return record["received"], record["answered"]

    added(queue)
    first = answered("first bundle")
    clock.now += 3600
    assert queue.add(b"image", arrival())
    assert [record["received"] for record in queue.answers()] == [first[0]], "no answer is lost meanwhile"
    clock.now += 60
    assert answered("first bundle") == first
    clock.now += 3600
    assert queue.add(b"image", arrival())
    clock.now += 60
    received, later = answered("other bundle")
    assert received > first[1]
    assert later > received


def test_an_image_that_is_to_be_answered_again_keeps_its_file_when_a_delivery_ends(queue):
    answer(queue, added(queue), ["ONE", "OTHER"])
    [one], [other] = queue.deliveries("ONE", 10), queue.deliveries("OTHER", 10)
    queue.again(other.image)
    assert not queue.delivered(one)
    [image] = queue.waiting(10)
    assert image.file.is_file()
    assert queue.is_waiting(image)
