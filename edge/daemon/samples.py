"""The way from a scan to what is stored of it: predictions, means of replicates, check sample."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

import numpy as np

from ccnvr.edge.daemon.config import Config
from ccnvr.edge.daemon.handover import Work
from ccnvr.edge.inference.models import Model
from ccnvr.edge.inference.pipeline import NO_REFERENCES
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.quality.prompts import prompts_with_words
from ccnvr.edge.quality.words import in_words
from ccnvr.edge.storage.context import CHECK, shown_name
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.edge.workflow import check_sample, replicates
from ccnvr.edge.workflow.control import Control
from ccnvr.firmware_bridge.instrument import InstrumentInfo

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictedScan:
    """A scan that is ready for the store, and the record of the sample that it completes."""

    new: NewScan
    mean: NewScan | None

    @property
    def shown(self) -> NewScan:
        """What streams deliver: the mean if there is one."""
        return self.mean or self.new


class Samples:
    """Predicts scans in order, and remembers the replicates and the check sample's state.

    Args:
        store: the store, in the thread that uses this.
        model: the model; of a family, the best for an instrument counts.
        config: the check sample and the tolerances for verdicts.
        control: where the check sample's chart is shown.
    """

    def __init__(self, store: Store, model: Model, config: Config, control: Control) -> None:
        self._store = store
        self._model = model
        self._config = config.check_sample
        self._tolerances = config.accept
        self._control = control
        self._replicates: list[tuple[Work, Prediction]] = []
        self._charts: dict[str, check_sample.CheckChart] = {}
        self._told: list[str] = []
        self._told_in_full: set[str] = set()
        if self._config.every != "never":
            store.remember(check_sample.LEARNT_FROM, self._config.learn)

    def predict(self, work: Work) -> PredictedScan:
        """Return a scan with its prediction, and the mean of the replicates that it completes."""
        prediction = work.prepared.pipeline(work.scan) if work.prepared else NO_REFERENCES
        flags = (*work.flags, *self._check_flags(work))
        prediction = prediction.judged(self._tolerances, flags)
        new = self._new(work, prediction)
        if work.context.replicate_of is None:
            # What is left of replicates is of a sample whose scanning was cut off.
            self._replicates.clear()
            return PredictedScan(new, None)
        if self._replicates and not _belong_together(self._replicates[-1][0], work):
            self._replicates.clear()
        self._replicates.append((work, prediction))
        return PredictedScan(new, self._mean() if work.last else None)

    def tell(self, work: Work, predicted: PredictedScan) -> None:
        """Tell operator and asker what came of a scan, once it is committed."""
        text = self._checked(work.info, predicted.new) if work.context.purpose == CHECK else ""
        record_id = predicted.shown.record_id
        self._advise(predicted.shown)
        if work.job is not None and work.last:
            record = self._store.record(record_id)
            work.job.finish(text or in_words(record or {}), record)

    def _advise(self, shown: NewScan) -> None:
        """Tell the operator what to do where the flags change, each sentence in full only once."""
        told = prompts_with_words(shown.prediction.flags)
        # Nothing is said again for each of a thousand wet soils.
        if self._told == list(told):
            return
        self._told = list(told)
        name = shown_name(shown.record_id, shown.context.sample.id)
        for prompt, words in told.items():
            # Long sentences between all rows would hide the table where flags come and go.
            text = words if prompt in self._told_in_full else prompt
            self._told_in_full.add(prompt)
            _LOG.warning("scan %s: %s", name, text)

    def _checked(self, info: InstrumentInfo, new: NewScan) -> str:
        """Tell what came of a scan of the check sample, and return it."""
        name = self._config.name
        if not new.prediction:
            text = f"the check sample {name!r} could not be used; scan it again"
        else:
            # From the store again, which holds the scan that was committed a moment ago.
            self._charts.pop(info.serial, None)
            text = f"the check sample {name!r} is {self._chart(info)}"
        bad = not new.prediction or self._chart(info).outside
        _LOG.log(logging.WARNING if bad else logging.INFO, "%s", text)
        return text

    def _new(self, work: Work, prediction: Prediction) -> NewScan:
        return NewScan(
            work.info,
            work.scan,
            prediction,
            work.prepared.reference_ids if work.prepared else None,
            self._bundle_of(work.info),
            round((time.monotonic() - work.received) * 1e3, 3),
            work.context,
        )

    def _mean(self) -> NewScan:
        """Return the record of the sample whose replicates are complete."""
        works = [work for work, _ in self._replicates]
        predictions = [prediction for _, prediction in self._replicates]
        rejected = replicates.outliers(predictions)
        used = np.flatnonzero(~rejected)
        first = works[0]
        if 2 * used.size <= len(works):
            # What made most of them useless is said; the mean of any is kept for whoever looks.
            failed = predictions[int(np.argmax([not one for one in predictions]))]
            mean = replicates.mean_scan([work.scan for work in works])
            prediction = Prediction({}, failed.flags).judged(self._tolerances)
        else:
            mean = replicates.mean_scan([works[i].scan for i in used])
            assert first.prepared is not None  # replicates are scanned with references only
            prediction = first.prepared.pipeline(mean)
            prediction = replicates.with_spread(prediction, [predictions[i] for i in used])
            doubts = {flag: None for work in works for flag in work.flags}
            flags = (*prediction.flags, *doubts, *self._check_flags(first))
            prediction = Prediction(prediction.estimates, flags).judged(self._tolerances)
        ids = [work.info.scan_id(work.scan.number) for work in works]
        named = {
            "used": [ids[i] for i in used],
            "rejected": [ids[i] for i in np.flatnonzero(rejected)],
        }
        context = replace(first.context, replicate_of=None, replicates=named)
        # The replicates were stored under the id of the record that they were to make.
        scan_id = first.context.replicate_of or ""
        return replace(
            self._new(replace(works[-1], scan=mean, context=context), prediction), scan_id=scan_id
        )

    def _check_flags(self, work: Work) -> tuple[str, ...]:
        """Return the flag of a sample that is scanned while the check sample is outside."""
        if work.context.purpose == CHECK or self._config.every == "never":
            return ()
        return (check_sample.FLAG,) if self._chart(work.info).outside else ()

    def _chart(self, info: InstrumentInfo) -> check_sample.CheckChart:
        if info.serial not in self._charts:
            name, bundle = self._config.name, self._bundle_of(info)
            records = self._store.check_history(info.serial, name, bundle)
            chart = check_sample.chart_of(
                [record["predictions"] for record in records], self._config.learn
            )
            self._charts[info.serial] = chart
            # Whoever draws its measurements needs those that the limits are for.
            of = {"name": name, "instrument": info.serial, "bundle": bundle}
            shown = {**of, **chart.as_data()}
            self._control.show("check_sample", lambda: shown)
        return self._charts[info.serial]

    def _bundle_of(self, info: InstrumentInfo) -> str:
        """Return the SHA-256 of the manifest of the bundle that serves an instrument."""
        return self._model.for_wavelengths(info.wavelengths_nm).bundle.digest


def _belong_together(before: Work, work: Work) -> bool:
    return before.context.replicate_of == work.context.replicate_of
