"""What holding masks costs a training step of examples/recommender under Adam."""

ROUNDS, REPS, BAR = 150, 5, 1.05


def tables(torch_library, movielens, report):
    """Medians over the steps of a run, with and without in turn; of several runs the median."""
    runs = sorted((torch_library.training_steps(movielens, ROUNDS) for _ in range(REPS)),
                  key=lambda run: run[1] / run[0])
    plain, held = runs[REPS // 2]
    report.say(f"| recommender, a training step: without, with held masks, us | {plain * 1e6:.0f}, "
               f"{held * 1e6:.0f} | | |")
    report.ratio("recommender: a step with held masks against one without", held / plain, BAR)
