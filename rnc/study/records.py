"""What a chapter asks for: the records of a study, by method; and of all scales, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rnc.study import store
from rnc.study.methods import METHODS, ST
from rnc.study.record import Record
from rnc.study.settings import (
    COMPARED,
    Attack,
    Evaluation,
    Study,
    Training,
    as_json,
    epochs_of_study,
    named_seeds,
    scale_of,
)
from rnc.study.store import Request

Records = dict[str, list[Record]]  # by title of the method, a record for each seed


def records(
    study: Study, *titles: str, stronger: bool = False, extra: Iterable[str] = ()
) -> Records:
    """Records of a study's networks; what is missing is trained and measured.

    Args:
        study: the networks, their evaluation, seeds and device.
        titles: of methods, such as "ST", "AT", "TRADES (frozen BN)"; none given: of COMPARED.
        stronger: with the values of the stronger attacks; see `Record.under_stronger`.
        extra: names of measurements that shall be there too, such as "early".

    Raises:
        ValueError: there is no such method.
        Mismatch, TooLong and others: as `rnc.study.store.make`.
    """
    found: Records = {}
    wanted = (*extra, *("stronger",) * stronger)
    for name in _names(titles):
        trainings = [study.training(name, seed) for seed in study.seeds]
        made = [store.make(Request(t, study.evaluation, wanted), study.device) for t in trainings]
        found[METHODS[name].title] = [r.under_stronger() for r in made] if stronger else made
    return found


def available(study: Study, *titles: str, extra: Iterable[str] = ()) -> Records:
    """Those records of a study that are there already; arguments as those of `records`."""
    return _by_method(
        record
        for seed in study.seeds
        for training in study.trainings(*_names(titles), seed=seed)
        if (record := store.find(Request(training, study.evaluation, tuple(extra))))
    )


def _names(titles: Iterable[str]) -> list[str]:
    """Of methods by their titles; none given: those of COMPARED."""
    names = {method.title: method.name for method in METHODS.values()}
    if unknown := [title for title in titles if title not in names]:
        raise ValueError(f"there is no method {unknown[0]!r}; there are {', '.join(names)}")
    return [names[title] for title in titles] or list(COMPARED)


def scales(study: Study | None = None) -> dict[str, Records]:
    """What there is of the quick preset, of a study, and of all that is published, by scale.

    Left out are published scales of fewer methods than the paper's three; see
    `of_fewer_methods`.

    A scale is named by its settings; two of the same name differ in what their names end in.
    """
    own = {str(s): found for s in (Study.of(), study or Study.of()) if (found := available(s))}
    shown = [record for found in own.values() for seeds in found.values() for record in seeds]
    others = {}
    for name, found in whole(by_scale(store.published_records())).items():
        if not all(record in shown for seeds in found.values() for record in seeds):
            others[f"{name}; as published" if name in own else name] = found
    return own | others


def whole(found: dict[str, Records]) -> dict[str, Records]:
    """Those scales at which at least as many methods were trained as the paper compares."""
    return {name: records for name, records in found.items() if len(records) >= 3}


def of_fewer_methods() -> dict[str, Records]:
    """The other published scales; see `whole`."""
    found = by_scale(store.published_records())
    shown = whole(found)
    return {name: records for name, records in found.items() if name not in shown}


def by_scale(found: Iterable[Record]) -> dict[str, Records]:
    """Records grouped by every setting but method and seed, in order of the studies' length."""
    groups: dict[tuple[Training, Evaluation], dict[Attack | None, list[Record]]] = {}
    order = list(METHODS.values())

    def rank(record: Record) -> tuple[int, int, int]:
        training = record.training
        return epochs_of_study(training), order.index(training.method), training.seed

    for record in sorted(found, key=rank):
        epochs = epochs_of_study(record.training)
        shared = replace(record.training, method=ST, seed=0, attack=None, epochs=epochs)
        attacks = groups.setdefault((shared, record.evaluation), {})
        attacks.setdefault(record.training.attack, []).append(record)
    named: dict[str, list[tuple[dict, list[Record]]]] = {}
    for (shared, evaluation), attacks in groups.items():
        unattacked = attacks.pop(None, [])  # one ST stands beside every attack of the others
        for attack, attacked in attacks.items() or [(None, [])]:
            members = unattacked + attacked
            settings = as_json(shared) | {"attack": f"of training {attack}"}
            scale = scale_of([record.training for record in members])
            named.setdefault(f"{scale}; {evaluation}", []).append((settings, members))
    return {
        name + _apart(settings, [other for other, _ in same]) + _seeds(members): _by_method(
            members
        )
        for name, same in named.items()
        for settings, members in same
    }


def _apart(settings: dict, others: list[dict]) -> str:
    """The settings in which one of several of the same name differs from the others."""
    differ = [name for name in settings if any(other[name] != settings[name] for other in others)]
    return "".join(f"; {name} {settings[name]}" for name in differ)


def _seeds(found: Iterable[Record]) -> str:
    return f"; {named_seeds(sorted({record.training.seed for record in found}))}"


def _by_method(found: Iterable[Record]) -> Records:
    records: Records = {}
    for record in found:
        records.setdefault(record.training.method.title, []).append(record)
    return records
