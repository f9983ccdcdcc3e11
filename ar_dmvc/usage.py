"""Help texts that are written by hand, apart from the commands, so that they show without what those import."""

DATA = """usage: ardmvc data ACTION WHAT [--data.NAME VALUE ...]

  prepare WHAT   download and verify what is missing, check all of it, say where it is
  info WHAT      views, shapes, ranges, class counts, memory; or what would have to be downloaded
  preview WHAT   a picture of a few samples, a row a view; --output FILE, by default preview.png
  suggest-clusters WHAT
                 a number of clusters, without labels: up to --most 20, the largest for which clusterings of subsamples agree;
                 --output FILE, by default clusters.png, shows how well

WHAT is a class (NoisyMNIST) or a configuration file (configs/data/noisy_mnist.yaml); its settings follow as --data.NAME VALUE.
"""

REPORT = """usage: ardmvc report FOLDER [--wandb PROJECT]

Collects every test below FOLDER, a benchmark's or any other, and writes there:

  report.html    one page that needs nothing else: sortable tables, curves, pictures, how it was made
  report.csv     a row for each number: data, clusterer, defence, attacker, suite, grid_budget, attack, budget, seed,
                 metric, value
  report.parquet the same, where pyarrow is installed (pip install 'ar-dmvc[parquet]')
  report.tex     a table for a paper (booktabs), mean and standard deviation over seeds, best in bold
  report.md      the same in Markdown

With --wandb, the table of numbers and the page are logged to a project at Weights & Biases as well.
"""
