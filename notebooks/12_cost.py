# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What it costs
#
# Speed decides how many seeds and claims a report can afford. This page says what the runs behind the report cost,
# on which machine, where the time goes, how far that is from what the machine can do at all, and what it would cost to
# do everything on a GPU. Every number is computed from the run records or from the record of `make bench`, but for the
# rate assumed of a GPU.

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
import pandas as pd
from IPython.display import Markdown, display

from alexnet import paths
from alexnet.audit import precision
from alexnet.experiments import costs, profiles
from alexnet.figures import cost, tables
from alexnet.figures.display import show_if_any
from alexnet.records import bench as bench_records
from alexnet.records.store import Store

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = profiles.records(PROFILE, store, SEEDS)
records = list({record.hash: record for _, record in runs if record is not None}.values())
by_claim, total = costs.by_claim(runs), costs.total(runs)
missing = len({planned.spec.hash for planned, record in runs if record is None})
every = sum(1 for _ in profiles.all_planned(PROFILE, store))
display(
    Markdown(
        f"All {total['runs']} runs together: **{total['hours']:.1f} hours of one thread**, "
        f"{total['million images']:.1f} million training images, {total['PFLOP']:.0f} x 10^15 multiplications and "
        f"additions."
        + f" {missing} runs that can be named now have no record yet; with those whose learning rate is still to be "
        f"chosen, {every:,} are planned in all." * bool(missing)
    )
)
display(
    Markdown(
        "**The doubt.** Runs were made at different times, on machines of the same name that differ, some beside other "
        "work: hours are what they took, not what they would take."
    )
)
show_if_any(cost.hours, by_claim)

# %% [markdown]
# ## What each part of the report cost
#
# A run that serves several claims, such as the baseline of the ablations, counts for each of them here and once in the
# sum below. Grids that choose a learning rate have rows of their own where several claims share them. Hours are of one
# thread: two runs side by side on two cores take half of it.

# %%
formats = {"hours": ".2f", "million images": ".1f", "PFLOP": ".2f"}
tables.show(by_claim, "What the runs of each part cost", formats)

# %% [markdown]
# ## On which machine, and how fast
#
# Medians over the records. The arithmetic of an image counts a multiply-add as two operations, once forward and twice
# backward; in epochs that train a new last layer alone, once forward. Fine-tuning counts in full, though its first
# epochs leave layers as they are.
#
# A record names the processor, and machines of one name differ: some have a matrix unit for bfloat16 (AMX), others hide
# it. So rows of one name may be of several machines, and the peak that the bench found, further down, is that of its
# own.

# %%
speeds = costs.by_network(records)
tables.show(speeds, "Speed in training", {"images/s": ",.0f", "GFLOP an image": ".2f", "GFLOP/s": ".0f"})

# %% [markdown]
# ## How far from the machine's limit
#
# `make bench` compares ours with a baseline in one process, taking turns, so that a machine that slows down slows both.
# The baseline at 227 pixels is the plain loop of public code: images read one by one and enlarged, a DataLoader with
# two workers, float32, torch's own response normalisation. The share of the peak is of what the same machine reaches
# in a large matrix product or a large convolution, whichever is faster: the two come from different libraries, and one
# may know the processor better. It is measured in turn with the calls of each case.

# %%
benches = bench_records.load_all(paths.BENCH)
bench = next(iter(benches.values()), None)
for record in benches.values():
    peak = ", ".join(f"{flops / 1e9:.0f} GFLOP/s in {kind}" for kind, flops in record.peak_flop_per_second.items())
    display(
        Markdown(
            f"**{record.machine['cpu']}**, {record.machine['cores']} cores, {record.threads} threads, GPU: "
            f"{record.machine['gpu']}. Peak: {peak}. Other load: {record.other_load:.1f} cores. "
            f"Measured {record.created[:10]}."
        )
    )
    bench_formats = {
        "baseline, ms": ".1f",
        "ours, ms": ".1f",
        "ratio": ".2f",
        "images/s": ",.0f",
        "share of peak": ".0%",
    }
    tables.show(costs.bench_table(record), f"Bench on {record.machine['cpu']}", bench_formats)
if not benches:
    print("No bench record is there; `make bench` makes one.")

# %%
if bench is not None:
    goals = [(result, goal) for result in bench.results for goal in bench.goals(result)]
    missed = [
        f"{costs.question(result)}: {goal.what} {goal.found:.3g}, wanted {goal.wanted:.3g}"
        for result, goal in goals
        if not goal.reached
    ]
    said = f"Missed: {'; '.join(missed)}." if missed else "None was missed."
    display(Markdown(f"{len(goals) - len(missed)} of {len(goals)} goals were reached. {said}"))

# %% [markdown]
# ## The published protocols in full
#
# The networks at 224 and 227 pixels on all threads, trained on a few hundred images each, in whole batches of their
# protocol. Hours are arithmetic: all images of the protocol at that rate; in full, with the validation and test images
# that each epoch ends with.

# %%
protocols = costs.protocol_table(bench) if bench is not None else pd.DataFrame()
if len(protocols):
    protocol_formats = {"images/s": ",.0f", "share of peak": ".0%", "hours, training": ".1f", "hours, in full": ".1f"}
    tables.show(protocols, "Published protocols", protocol_formats)
else:
    print("The bench record does not have them yet; `make bench` measures them.")

# %% [markdown]
# ## Fast and exact
#
# Our response normalisation against section 3.3 word for word in float64, on the same numbers: the largest absolute
# error over the largest absolute value, of the output and of the gradient. bfloat16 keeps eight bits, so rounding the
# result alone costs a few thousandths.

# %%
if bench is not None:
    tables.show(costs.error_table(bench), "Errors of response normalisation", {"error": ".1e", "allowed": ".0e"})

# %% [markdown]
# ## Where a step spends its time
#
# Each layer on its own, forward and backward; the tables say how near to its peak in arithmetic a convolution comes.
# Response normalisation, pooling and ReLU multiply little. Normalisation goes over memory once forward and once
# backward, in code that numba compiles for the processor at hand at its first use; that it takes longer than ReLU on as
# many numbers shows that memory alone does not limit it. Multiply-adds here are those of weights; other tables of
# layers count the adding of a bias as one more.

# %%
nets = list(dict.fromkeys(layer.net for layer in bench.layers)) if bench is not None else []
for net in nets:
    show_if_any(cost.layer_bars, bench, net)

# %%
layer_formats = {"multiply-adds": ",d", "forward, ms": ".2f", "backward, ms": ".2f"}
layer_formats |= {"share of time": ".0%", "share of peak": ".0%"}
for net in nets:
    tables.show(costs.layer_table(bench, net), net, layer_formats)

# %% [markdown]
# ## Side by side or one after the other
#
# Runs are independent. Either one run at a time uses all threads, or as many runs as there are cores have one thread
# each. `make runs` does the latter with small networks; the ratio says how much more that gets done.

# %%
if bench is not None:
    rows = []
    for result in bench.results:
        if result.case.startswith("threads-") and result.images_per_second is not None:
            together, apart = result.images_per_second
            memory = result.memory_bytes or (None, None)
            rows.append(
                {
                    "network": result.question.rpartition(": ")[2],
                    "images/s, one run on all threads": together,
                    "images/s, a run a core": apart,
                    "ratio": result.ratio,
                    "GB, one run": None if memory[0] is None else memory[0] / 1e9,
                    "GB, a run a core": None if memory[1] is None else memory[1] / 1e9,
                }
            )
    sharing_formats = {"images/s, one run on all threads": ",.0f", "images/s, a run a core": ",.0f", "ratio": ".2f"}
    sharing_formats |= {"GB, one run": ".2f", "GB, a run a core": ".2f"}
    tables.show(pd.DataFrame(rows), "Independent runs", sharing_formats)

# %% [markdown]
# ## Memory
#
# The most that the process of a case held, data set and libraries included. Those of the plain loop's two loading
# processes are not counted.

# %%
if bench is not None:
    held = [
        {
            "baseline against ours": costs.question(r),
            "baseline, GB": r.memory_bytes[0] / 1e9,
            "ours, GB": r.memory_bytes[1] / 1e9,
        }
        for r in bench.results
        if r.memory_bytes is not None and not r.case.startswith("threads-")
    ]
    tables.show(pd.DataFrame(held), "Memory of training and of features", {"baseline, GB": ".2f", "ours, GB": ".2f"})

# %% [markdown]
# ## Does bfloat16 move results?
#
# Where products are faster in bfloat16, convolutions and matrix products are computed in it; weights, updates, the
# softmax and everything else that adds small to large stay in float32. Instructions for it are no proof: on processors
# whose matrix unit a virtual machine hides, what is left of them takes longer than float32, so a few products are
# measured before the first run. `make precision` repeats some runs in
# float32, seed by seed, and the difference in test error is the effect, with a t interval as everywhere in this report.

# %%
pairs = precision.pairs(PROFILE, store, Store(precision.folder(PROFILE)), SEEDS)
found = precision.differences(pairs)
rows = [
    {"network": network, "pairs": effect.n, "bfloat16 less float32": effect.text, "unit": effect.unit}
    for network, effect in found.items()
]
if rows:
    tables.show(pd.DataFrame(rows), "Difference in test error")
else:
    print("No run has been repeated in float32 yet; `make precision` does it.")

# %%
seeds = [
    {
        "network": pair.network,
        "seed": pair.planned.seed,
        "test error, bfloat16": pair.record.final.test_error,
        "test error, float32": pair.repetition.final.test_error,
        "images/s, bfloat16": pair.record.images_per_second,
        "images/s, float32": pair.repetition.images_per_second,
    }
    for pair in pairs
    if pair.repetition is not None
]
if seeds:
    error_formats = {"test error, bfloat16": ".2%", "test error, float32": ".2%"}
    error_formats |= {"images/s, bfloat16": ",.0f", "images/s, float32": ",.0f"}
    tables.show(pd.DataFrame(seeds), "Pairs of runs", error_formats)
    display(Markdown(precision.rates_sentence(pairs)))

# %% [markdown]
# ## What the gpu profile would cost
#
# The gpu profile makes the comparisons that decide as the cpu profile does, with more seeds, and the first looks with
# the full network at 227 pixels. Nobody has run it for this report: no GPU was at hand. What follows is arithmetic: all
# its runs up to their caps, at the rate aimed at for one H100-class card, in images a second of the network as written.
# The data stay on the card, the forward pass is in bfloat16 with channels last, the fused update is used, and a test
# checks on the processor that nothing within an epoch waits for a number from the card. Networks can be compiled
# (`ALEXNET_COMPILE=inductor`), which is off unless asked for. None of this has been timed on a card.

# %%
planned = costs.planned_cost("gpu", Store(paths.BUILD / "none"), costs.gpu_flop_per_second())
tables.show(planned, "The gpu profile, estimated", {"PFLOP": ",.0f", "hours": ".2f"})
display(
    Markdown(
        f"At {costs.GPU_IMAGES_PER_SECOND:,} images a second of AlexNet as written, {planned['runs'].sum()} runs take "
        f"about **{planned['hours'].sum():.1f} hours** on one card. Runs are independent: n cards take an n-th of it."
    )
)

# %% [markdown]
# ## Questions
#
# <details class="question"><summary>A network of half the width: does it train four times as fast?</summary>
#
# All its convolutions but the first have a quarter of the multiply-adds, and the first has half. But other work, such
# as normalisation, pooling and reading images, is only halved or stays, and small matrix products use a processor less
# well. So it is less than four times.
#
# </details>
#
# <details class="question"><summary>Why is speed given as a share of the machine's peak?</summary>
#
# Images a second say as much about the machine as about the program. The share says how much could still be gained,
# and can be compared between machines.
#
# </details>

# %% [markdown]
# ## Threats to validity
#
# - Images a second are medians over runs made at different times.
# - The peak is what this machine's libraries reach in one matrix product and one convolution. Other shapes may reach a
#   little more.
# - Layers timed on their own find their inputs in the cache more often than in a whole step.
# - The estimate for a GPU is only as good as the rate it assumes; small networks keep a large card waiting for work, so
#   the rows of small networks are too low.
