"""One training with several seeds: what is done is skipped, one that fails stops no other, tests are averaged."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from progeo.console import format_count, logger
from progeo.errors import ProgeoError
from progeo.files import CONFIG, REPORT, RESULTS, hold_folder, read_text, write_json
from progeo.training import ranks
from progeo.training.interrupt import StoppedError, interrupt_on_termination
from progeo.training.run import Training


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise ProgeoError where a seed is given twice: the same run again would look like a second one that agrees."""
    twice = [seed for seed in dict.fromkeys(seeds) if list(seeds).count(seed) > 1]
    if twice:
        raise ProgeoError(f"`seeds` names {', '.join(map(str, twice))} twice. Give each seed once.")


def run_seeds(training: Training, make_folder: Callable[[], Path], seeds: list[int]) -> dict[str, Any]:
    """Train once per seed, skipping and resuming what an earlier start has done; return mean and spread.

    Raises:
        ProgeoError: a seed is given twice.
        StoppedError: seeds have failed; the others are done.
    """
    check_seeds(seeds)
    with interrupt_on_termination(), ExitStack() as held:
        folder = ranks.ask_first(make_folder)
        ranks.ask_first(lambda: held.enter_context(hold_folder(folder)))
        ranks.ask_first(lambda: training.write_config(training.settings, folder, seeds))
        results, failed = {}, {}
        for seed in seeds:
            try:
                results[seed] = run_seed(training, folder, seed)
            except ProgeoError as error:
                if ranks.count() > 1:  # the others may not have failed, and wait
                    raise
                failed[seed] = str(error)
                logger.error(f"Seed {seed} failed: {error}")
        summary = ranks.ask_first(lambda: summarise_seeds(results, folder) if results else {})
    if failed:
        reasons = " ".join(f"Seed {seed}: {reason}" for seed, reason in failed.items())
        raise StoppedError(f"{format_count(len(failed), 'seed')} failed, {len(results)} done. {reasons}", folder)
    return summary


def run_seed(training: Training, folder: Path, seed: int) -> dict[str, Any]:
    """Return the results of one seed, from its own folder below the run's where it is done."""
    settings = training.settings
    own = folder / f"seed_{seed}"
    own.mkdir(exist_ok=True)
    ranks.wait()
    if (own / RESULTS).is_file() and (settings.stage == 1 or (own / REPORT).is_file()):
        content: dict[str, Any] = json.loads(read_text(own / RESULTS))
        return content
    # What all seeds see alike is extracted once.
    features = settings.cache_feature_folder or str(folder)
    earlier = own if (own / CONFIG).is_file() else None
    settings = dataclasses.replace(settings, seed=seed, cache_feature_folder=features)
    return training.run_once(settings, own, earlier, None).results


def summarise_seeds(results: dict[int, dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Return, say and write mean and standard deviation of the tests; of stage 1, the prompts of all seeds.

    One test has no deviation: it is None.
    """
    seeds, tests = list(results), list(results.values())
    if "recalls" not in tests[0]:
        return {"seeds": seeds, "prompts": [test["prompts"] for test in tests]}
    recalls = {rank: [test["recalls"][rank] for test in tests] for rank in tests[0]["recalls"]}
    means = {rank: statistics.mean(values) for rank, values in recalls.items()}
    several = len(seeds) > 1
    deviations = {rank: statistics.stdev(values) if several else None for rank, values in recalls.items()}
    summary = {"seeds": seeds, "recalls": recalls, "recalls_mean": means, "recalls_standard_deviation": deviations}
    write_json(folder / RESULTS, summary)
    if several:
        figures = ", ".join(f"{rank}: {means[rank]:.1f} ± {deviations[rank]:.1f}" for rank in recalls)
        logger.info(f"Test, mean ± standard deviation over {len(seeds)} seeds: {figures}")
    else:
        figures = ", ".join(f"{rank}: {means[rank]:.1f}" for rank in recalls)
        logger.info(f"Test, seed {seeds[0]} alone: {figures}")
    return summary
