"""The report on one pre-training run, or on several side by side."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence

from elektron.pretraining.config import CONFIG
from elektron.pretraining.health import GRACE_STEPS, first_judged_step
from elektron.pretraining.schedules import effective_warmup
from elektron.pretraining.start_and_end import comparison_commands, start_and_end
from elektron.reporting import charts, page, sections, task_summary
from elektron.reporting.curves import curves
from elektron.reporting.examples import Shades, running_text
from elektron.reporting.formatting import NOTHING, compact, duration, integer, metric_format, percent, scientific
from elektron.reporting.page import Block, Cell, Inline, Report, Section, Table, code, named, note, text
from elektron.reporting.pretraining_run import PretrainingRun
from elektron.reporting.reading import Record, group, number
from elektron.reporting.task_report import seeds_section, warnings_block
from elektron.reporting.task_result import TaskResult
from elektron.reporting.usage import WITHOUT_GENERATOR, pretraining_usage

OBJECTIVES = {
    "rtd": "replaced token detection",
    "electra_15": "replaced token detection at masked positions",
    "replace_mlm": "predicting originals from the generator’s samples",
    "all_tokens_mlm": "predicting every token, with a copy gate",
    "mlm": "masked language modelling",
    "corrective": "replaced token detection and prediction of the masked tokens",
}
PLANS = {
    "two_stage": "one after the other",
    "alternating": "alternately",
    "adversarial": "adversarially",
    "frozen_generator": "with a frozen generator",
}
PACKINGS = {
    "dense": "dense: several texts a row, each with its own attention",
    "paper": "paper: [CLS] A [SEP] B [SEP] of one document a row",
}

COMPARED = (
    *("generator_loss", "generator_accuracy", "discriminator_auc", "discriminator_loss"),
    *("lm_loss", "lm_accuracy", "discriminator_precision", "discriminator_recall"),
)
"""Metrics of held-out rows in the table of several runs."""
COSTS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "steps": ("steps", integer),
    "tokens": ("tokens", compact),
    "seconds": ("time", duration),
    "tokens_per_second": ("tokens/s", integer),
    "flops": ("FLOPs", scientific),
}


def pretraining_report(runs: Sequence[PretrainingRun]) -> Report:
    """Create the report on one or several runs."""
    several, first = len(runs) > 1, runs[0]
    names = [named(run.name, charts.style(index) if several else None) for index, run in enumerate(runs)]
    with_status = [named(run.name, name.style, badge=status(run)) for run, name in zip(runs, names, strict=True)]
    headings: list[list[Block]] = [[page.Heading(name)] if several else [] for name in names]
    overview: list[Block] = []
    if several:
        overview += [comparison(runs, with_status), note(_comparison_remark(runs))]
    else:
        overview.append(page.Tiles(tiles(first)))
        if not first.metrics.evaluation and not first.finished:
            overview.append(note("This run has not been evaluated yet: these are training rows."))
        overview.append(page.Facts(facts(first)))
    for run in runs:
        if not run.finished:
            command = f"elektron pretrain --config {shlex.quote(str(run.folder / CONFIG))}"
            remark = "has no summary yet: it is running, or was interrupted. After an interruption it is resumed by "
            overview.append(note(f"{run.name} {remark}", code(command)))
    return Report(
        title=", ".join(run.name for run in runs),
        kind="pre-training report",
        heading=[f"{len(runs)} runs compared" if several else with_status[0]],
        lead="" if several else lead(first),
        blocks=[] if several else overview,
        sections=[
            Section("Side by side", overview if several else []),
            _alarms(runs, headings),
            _start_and_end(runs, headings),
            Section("Curves", _curves(runs, with_status)),
            *(_downstream(run.downstream, n, headings[n]) for n, run in enumerate(runs) if run.downstream),
            _sentences_section(runs, names),
            _corpora(runs),
            Section("Use the model", pretraining_usage(first, several)),
            sections.settings_section([(n, r.config) for n, r in zip(names, runs, strict=True)], "run"),
            sections.versions_section([(n, group(r.summary, "versions")) for n, r in zip(names, runs, strict=True)]),
        ],
    )


def lead(run: PretrainingRun) -> str:
    """What was trained, on what and for how long, in one sentence."""
    family = str(run.config.get("family", "ELECTRA"))
    objective = str(run.config.get("objective", ""))
    latest = run.position | (run.summary or {})
    sources = (run.corpus or {}).get("sources")
    data = ", ".join(map(str, sources)) if isinstance(sources, list) and sources else "its corpus"
    plan = PLANS.get(str(run.config.get("plan")))
    pair = "An encoder" if objective == WITHOUT_GENERATOR else "A generator and a discriminator"
    read, in_text = number(run.latest, "tokens"), number(group(run.corpus, "tokens"), "train")
    passes = f" ({read / in_text:,.2f} passes over the text)" if read and in_text else ""
    return (
        f"{pair} of family {family}, trained {f'{plan} ' if plan else ''}by "
        f"{OBJECTIVES.get(objective, objective)} on {data}: "
        f"{integer(number(latest, 'step'))} steps, {compact(number(latest, 'tokens'))} tokens{passes}, "
        f"in {duration(number(latest, 'seconds'))}."
    )


def status(run: PretrainingRun) -> str:
    """How far an unfinished run is; empty for a finished one."""
    if run.finished:
        return ""
    step, tokens, seconds, flops = (number(run.position, key) or 0.0 for key in ("step", "tokens", "seconds", "flops"))
    progress = f"in progress: step {integer(step)}"
    if (steps := number(run.config, "steps")) is not None:
        return f"{progress} of {integer(steps)}"
    if (budget := number(run.config, "tokens")) is not None:
        return f"{progress}, {compact(tokens)} of {compact(budget)} tokens"
    if (minutes := number(run.config, "minutes")) is not None:
        return f"{progress}, {duration(seconds)} of {duration(60 * minutes)}"
    if (budget := number(run.config, "flops")) is not None:
        return f"{progress}, {scientific(flops)} of {scientific(budget)} FLOPs"
    return progress


def tiles(run: PretrainingRun) -> list[page.Tile]:
    """The main metrics of the run's objective, on held-out rows if the run was evaluated."""
    meanings = {
        "discriminator_auc": "The probability that a replaced token looks more suspicious than an "
        "original one; 0.5 is guessing. Read it together with the generator’s loss: while the "
        "generator writes nonsense, a high AUC is easy and means little.",
        "generator_loss": _loss_meaning(run),
        "generator_accuracy": "Masked positions where the generator’s first guess is the original "
        "token. It need not be high: the generator only has to write plausible replacements.",
        "discriminator_recall": _recall_meaning(run.latest),
        "lm_loss": f"Language-model loss in nats: the discriminator’s, where it predicts tokens.{_unigrams(run)}",
        "lm_accuracy": "Masked positions where the discriminator’s first guess is the original token.",
    }
    logged = [name for name in meanings if number(run.latest, name) is not None]
    return [
        page.Tile(metric_format(name).title, metric_format(name).format_value(number(run.latest, name)), meanings[name])
        for name in logged or list(meanings)[:4]
    ]


def _loss_meaning(run: PretrainingRun) -> str:
    loss, vocabulary = number(run.latest, "generator_loss"), number(run.corpus, "vocab_size")
    meaning = "In nats."
    if loss is not None and loss < 50:
        meaning += f" As uncertain as a choice among {compact(math.exp(loss))} equally likely tokens."
    if vocabulary and vocabulary > 1:
        meaning += f" A uniform guess over {integer(vocabulary)} vocabulary entries has {math.log(vocabulary):.2f}."
    return f"{meaning}{_unigrams(run)} Healthy runs fall well below, quickly at first."


def _unigrams(run: PretrainingRun) -> str:
    entropy = number(run.corpus, "unigram_entropy")
    if entropy is None:
        return ""
    return f" Knowing only token frequencies gives {entropy:.2f}, their entropy (unigram entropy)."


def _recall_meaning(latest: Record) -> str:
    meaning = "Replaced tokens with a probability above 0.5. Near 0 is normal early on."
    if (replaced := number(latest, "replaced_share")) is not None:
        meaning += f" {percent(replaced)} of the tokens are replaced."
    if (precision := number(latest, "discriminator_precision")) is not None:
        meaning += f" {percent(precision)} of the flagged tokens are replaced."
    recall, precision = (number(latest, f"discriminator_{name}_at_base_rate") for name in ("recall", "precision"))
    if recall is not None and precision is not None:
        meaning += (
            f" With the fraction of replaced tokens as the threshold, {percent(recall)} are found at "
            f"{percent(precision)} precision."
        )
    return meaning


def facts(run: PretrainingRun) -> dict[str, str]:
    """Parameters, speed, compute and device of a run."""
    latest, parameters = run.position | (run.summary or {}), group(run.summary, "parameters")
    values = {
        "discriminator": f"{compact(number(parameters, 'discriminator'))} parameters",
        "generator": f"{compact(number(parameters, 'generator'))} parameters",
        "speed": f"{integer(number(latest, 'tokens_per_second'))} tokens/s",
        "compute": f"{scientific(number(latest, 'flops'))} FLOPs",
        "device": str(latest.get("device", NOTHING)),
    }
    return {name: value for name, value in values.items() if not value.startswith(NOTHING)}


def same_text(runs: Sequence[PretrainingRun]) -> bool:
    """Whether all runs used the same blocks, so that their losses can be compared."""
    return all(run.corpus == runs[0].corpus for run in runs)


def _comparison_remark(runs: Sequence[PretrainingRun]) -> str:
    remark = (
        "Metrics are of held-out rows. A discriminator’s metrics depend on its generator, which "
        "writes what it has to detect: read AUC together with the generator’s loss. "
    )
    if not same_text(runs):
        remark += (
            "These runs used different blocks, so that their losses cannot be compared and none is marked as best. "
        )
    if not all(run.finished for run in runs):
        remark += "A run in progress has its newest metrics and is never marked as best."
    return remark


def comparison(runs: Sequence[PretrainingRun], names: Sequence[Inline]) -> Table:
    """The metrics of several runs, with the best of the finished ones marked where they used the same text."""
    ranked = [run.finished and same_text(runs) for run in runs]
    head, columns = ["run"], [names]
    for name in (*COMPARED, *COSTS):
        values = [number(run.progress, name) for run in runs]
        if not any(value is not None for value in values):
            continue
        if name in COSTS:
            title, write = COSTS[name]
            columns.append([write(value) for value in values])
        else:
            title = metric_format(name).title
            columns.append(sections.metric_cells(values, metric_format(name), ranked))
        head.append(title)
    return Table(head, list(zip(*columns, strict=True)))


def _alarms(runs: Sequence[PretrainingRun], headings: Sequence[Sequence[Block]]) -> Section:
    blocks: list[Block] = []
    for run, heading in zip(runs, headings, strict=True):
        items: list[list[Inline]] = []
        for alarm in run.metrics.alarm:
            kind = Cell(str(alarm.get("alarm") or "alarm"), strong=True)
            items.append([kind, f"Step {integer(number(alarm, 'step'))}: {alarm.get('message') or ''}"])
        blocks += [*heading, page.Warnings(items, "")] if items else []
    not_judged = [(run.name, reason) for run in runs if (reason := why_not_judged(run))]
    if not blocks and not not_judged:
        blocks.append(page.Warnings([], "None raised."))
    blocks += [note(f"{name}: {reason}" if len(runs) > 1 else reason) for name, reason in not_judged]
    for run in runs:
        if run.metrics.resumed:
            whose = f"{run.name}: resumed" if len(runs) > 1 else "Resumed"
            steps = ", ".join(integer(number(line, "step")) for line in run.metrics.resumed)
            blocks.append(note(f"{whose} at step {steps}."))
        if count := run.metrics.unreadable:
            blocks.append(note(f"Damaged lines left out of the metrics of {run.name}: {count:,}."))
    return Section("Alarms", blocks)


def why_not_judged(run: PretrainingRun) -> str:
    """Why alarms about whether the networks learn could not be raised yet; empty if they could."""
    steps = number(run.config, "steps")
    if steps is None and number(run.config, "tokens"):  # its number of steps follows from the blocks
        steps = number(run.progress, "steps")
    total = None if steps is None else int(steps)
    first = first_judged_step(effective_warmup(number(run.config, "optimizer.warmup") or 0.0, total), total)
    last = max((number(line, "step") or 0.0 for line in run.metrics.evaluation), default=0.0)
    if last >= first:
        return ""
    return (
        "Not checked yet: whether the networks learn. These alarms need an evaluation "
        f"{integer(GRACE_STEPS)} steps after the warm-up, at step {integer(first)} or later; "
        f"the last was at step {integer(last)}."
    )


def _start_and_end(runs: Sequence[PretrainingRun], headings: Sequence[Sequence[Block]]) -> Section:
    """What the runs that continue a released encoder have learned and forgotten."""
    blocks: list[Block] = []
    for run, heading in zip(runs, headings, strict=True):
        evaluations = run.metrics.evaluation
        end = run.summary or (evaluations[-1] if evaluations else {})
        compared = start_and_end(evaluations, end)
        if compared is None or end == evaluations[0]:
            continue
        table, remark = compared
        blocks += [*heading, *([Table(table[0], table[1:])] if table else []), *([note(remark)] if remark else [])]
        if not table:
            blocks.append(page.Code(comparison_commands(str(run.config.get("init_from")), str(run.folder))))
    when = "at the end" if all(run.finished for run in runs) else "now"
    return Section(f"Held-out loss at the start and {when}", blocks)


def _curves(runs: Sequence[PretrainingRun], names: Sequence[Cell]) -> list[Block]:
    drawn = curves(runs)
    if not drawn:
        return [note("Nothing has been logged yet.")]
    legend = [page.Legend(names)] if len(runs) > 1 else []
    strokes = note("Bold: held-out rows. Thin: training rows, averaged between two log lines.")
    return [*legend, strokes, page.Group("charts", drawn)]


def _downstream(result: TaskResult, index: int, heading: Sequence[Block]) -> Section:
    section = seeds_section(result, f"downstream-{index}")
    classes = [note(f"Classes: {', '.join(result.labels)}.")] if result.labels else []
    blocks = [*heading, text(task_summary.lead(result)), *classes, *section.blocks, warnings_block(result)]
    return Section(section.title, blocks)


def _sentences_section(runs: Sequence[PretrainingRun], names: Sequence[Cell]) -> Section:
    blocks: list[Block] = []
    for run, name in zip(runs, names, strict=True):
        if run.examples:
            scale = Shades(run.examples)
            texts = [running_text(example, scale) for example in run.examples]
            sentences = page.Sentences(percent(scale.lowest, 0), percent(scale.highest, 0), texts)
            blocks.append(page.Details(name, [sentences], open=not blocks) if len(runs) > 1 else sentences)
    introduction = text(
        "Held-out sentences after the generator has filled in its masks. The stronger the "
        "shade of a word, the higher the discriminator’s probability of “replaced”."
    )
    return Section("What the discriminator sees", [introduction, *blocks] if blocks else [])


def _corpora(runs: Sequence[PretrainingRun]) -> Section:
    """Each corpus once, with the names of its runs."""
    corpora: list[Record] = []
    for run in runs:
        if run.corpus is not None and run.corpus not in corpora:
            corpora.append(run.corpus)
    blocks: list[Block] = []
    for corpus in corpora:
        if len(corpora) > 1:
            blocks.append(page.Heading(", ".join(run.name for run in runs if run.corpus == corpus)))
        sources = corpus.get("sources")
        listed = [code(str(s)) for s in sources] if isinstance(sources, list) else []
        separated = [part for source in listed for part in (source, ", ")][:-1]
        blocks.append(note("Sources: ", *(separated or ["not recorded"])))
        blocks.append(page.Group("beside", corpus_tables(corpus)))
    return Section("The corpus in numbers", blocks)


def corpus_tables(corpus: Record) -> list[Table]:
    """Tables of a corpus: documents, rows and tokens, and how its rows are made."""
    counts = [
        [name, *(integer(number(group(corpus, name), split)) for split in ("train", "validation"))]
        for name in ("documents", "rows", "tokens")
    ]
    packing = str(corpus.get("packing", NOTHING))
    properties = [
        ["row length", f"{integer(number(corpus, 'seq_len'))} tokens"],
        ["packing", PACKINGS.get(packing, packing)],
        ["padding", percent(number(corpus, "padding_share"), 2)],
        ["vocabulary", f"{integer(number(corpus, 'vocab_size'))} entries"],
    ]
    return [Table(["", "to train on", "held out"], counts), Table([], properties, left=[1])]
