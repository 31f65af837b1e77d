"""Tasks that are cancelled end, even if a cancellation is lost; those that are awaited together end together."""

import asyncio

import pytest

from service.concurrency import Supervisor, all_of, end


async def stubborn(lost: list[str], times: int) -> None:
    """A task that swallows so many cancellations, as asyncio.wait_for may on Python 3.11."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if len(lost) >= times:
                raise
            lost.append("a cancellation")


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_tasks_end_however_many_cancellations_are_lost(times: int) -> None:
    """Whoever cancels and waits insists."""
    lost: list[str] = []
    task = asyncio.create_task(stubborn(lost, times))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end([task])
    assert task.cancelled()
    assert len(lost) == times


async def test_failure_of_a_task_that_ends_is_not_reported_as_lost() -> None:
    """Its exception is retrieved."""

    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError from None

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await end([task, asyncio.ensure_future(asyncio.sleep(0))])
    assert isinstance(task.exception(), ValueError)


async def test_who_is_cancelled_while_he_ends_tasks_ends_them_first() -> None:
    """Left alone, they would go on with what their owner closes next."""
    lost: list[str] = []
    task = asyncio.create_task(stubborn(lost, 3))
    await asyncio.sleep(0)
    owner = asyncio.create_task(end([task]))
    try:
        async with asyncio.timeout(10):
            while len(lost) < 2:
                await asyncio.sleep(0)
                owner.cancel()
            await asyncio.wait([owner])
        assert owner.cancelled()
        assert task.cancelled()
    finally:
        await end([task])


async def test_supervisor_stops_tasks_that_lose_a_cancellation() -> None:
    """None runs on behind a process that stops."""
    lost: list[str] = []
    supervisor = Supervisor(lambda *_: None)
    supervisor.start("stubborn", lambda: stubborn(lost, 2))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await supervisor.stop()
    assert supervisor.running == 0


async def test_all_of_fails_when_all_have_ended() -> None:
    """Whoever goes on after the failure meets none of the others."""
    ended: list[str] = []
    has_failed = asyncio.Event()

    async def fail() -> None:
        has_failed.set()
        raise LookupError("first")

    async def take_longer() -> None:
        await has_failed.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        ended.append("second")

    with pytest.raises(LookupError, match="first"):
        await all_of([fail(), take_longer()])
    assert ended == ["second"]
    assert await all_of([asyncio.sleep(0, 1), asyncio.sleep(0, 2)]) == [1, 2]
