"""Two small notebooks that use everything a page can show, for the tests of notebooks, report and pages."""

from pathlib import Path

HEADER = """# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

"""

PARAMETERS = """
# %% tags=["parameters"]
PROFILE = "cpu"  # which records to show: smoke, cpu or gpu
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # ignore the committed records

"""

FIGURES = (
    HEADER
    + r"""# %% [markdown]
# # Figures and formulas
#
# The paper's section 3.1 has a unit with input $x$ give $f(x) = \max(0, x)$, or $f(x)=\tanh(x)$, and section 3.3
#
# $$b^i_{x,y} = a^i_{x,y} \Big/ \Big(k + \alpha \sum_{j=\max(0,i-n/2)}^{\min(N-1,i+n/2)} (a^j_{x,y})^2\Big)^\beta$$
#
# See [the second page](02_tables.ipynb#a-table) for a table.
"""
    + PARAMETERS
    + """# %% [markdown]
# ## The curves

# %%
import matplotlib.pyplot as plt
import numpy as np

from alexnet.figures import display

epochs = np.arange(1, 16)
figure, axes = plt.subplots(figsize=(7, 4))
for name, rate, colour in (("ReLU", 0.25, "#0067a6"), ("tanh", 0.1, "#b84a00")):
    axes.plot(epochs, np.exp(-rate * epochs) + 0.05, color=colour, label=name)
axes.set(xlabel="epoch", ylabel="training error", title="How fast does each activation learn?")
axes.legend(frameon=False)
display.show(figure, "Training error over epochs: the curve of ReLU falls faster than that of tanh.")

# %% [markdown]
# ### Pictures

# %%
figure, panels = plt.subplots(1, 3, figsize=(6, 2))
for shift, panel in enumerate(panels):
    panel.imshow((np.arange(192).reshape(8, 8, 3) * (shift + 1) % 256).astype(np.uint8))
    panel.axis("off")
display.show(figure, "Three squares of coloured stripes, which stand for images here.")
"""
)

TABLES = (
    HEADER
    + """# %% [markdown]
# # Tables and text
#
# | layer | filters |
# |:------|--------:|
# | conv1 | 96 |
# | conv2 | 256 |
# | conv3 | 384 |
#
# Text with **bold** and `code`, and a [link to a file](../README.md).
"""
    + PARAMETERS
    + """# %% [markdown]
# ## A table

# %%
import pandas

from alexnet.figures import tables

frame = pandas.DataFrame(
    {
        "claim": ["relu-speed", "dropout", "overlap", "depth", "lrn"],
        "epochs": [7.25, 12.5, None, 100.0, 3.5],
        "parameters": [60965224, 58322314, 61100840, 1000, 5],
        "verdict": ["reproduced", "direction reproduced", "inconclusive", "contradicted", "not tested"],
    }
)
tables.show(frame, caption="What came out, by claim", formats={"parameters": ",d", "epochs": ".1f"})

# %% [markdown]
# ## Text

# %%
print("Profile", PROFILE)
for layer in range(3):
    print(f"conv{layer}: {'x' * 200}")

# %%
frame["epochs"].sum().item()
"""
)

PLAIN = HEADER + "# %% [markdown]\n# # Plain\n" + PARAMETERS  # a notebook whose kernel imports nothing


def write(folder: Path, **notebooks: str) -> list[Path]:
    """Write notebooks as NN_name.py into `folder/notebooks` (a README beside it) and return their paths."""
    (folder / "README.md").write_text("# Stub\n")
    target = folder / "notebooks"
    target.mkdir(exist_ok=True)
    for name, text in notebooks.items():
        (target / f"{name}.py").write_text(text)
    return sorted(target.glob("*.py"))


def write_both(folder: Path) -> list[Path]:
    """Write the two stub notebooks."""
    return write(folder, **{"01_figures": FIGURES, "02_tables": TABLES})
