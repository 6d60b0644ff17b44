"""Regression on CSV files: a Dataset of your own, three loaders, SGD, validation, predictions for the test set.

The files hold the diabetes study of Efron et al. (442 patients, ten measurements, disease progression after a year), which comes with
scikit-learn. They are written on the first run; put your own train.csv, valid.csv and test.csv (target in the last column) beside them.

    python examples/regression_csv.py
    python examples/regression_csv.py --data my_folder --epochs 300 --workers 2
"""
import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from tqdm import tqdm

import cltorch as torch
from cltorch import nn, optim
from cltorch.utils.data import DataLoader, Dataset


class MyDataset(Dataset):
    """The rows of a CSV file with a header: features, and the target in the last column."""

    def __init__(self, file):
        with open(file, newline="") as stream:
            rows = [[float(cell) for cell in row] for row in list(csv.reader(stream))[1:]]
        self.data = torch.tensor([row[:-1] for row in rows])
        self.target = torch.tensor([row[-1:] for row in rows])

    def __getitem__(self, index):
        return self.data[index], self.target[index]

    def __len__(self):
        return len(self.data)


class MyModel(nn.Module):
    """An MLP over standardised inputs; it knows the training data's mean and spread, so that they are saved with it."""

    def __init__(self, train):
        super().__init__()
        for name, values in (("x", train.data), ("y", train.target)):
            self.register_buffer(f"{name}_mean", values.mean(dim=0))
            self.register_buffer(f"{name}_std", values.std(dim=0))
        self.net = nn.Sequential(nn.Linear(train.data.shape[1], 32), nn.Tanh(), nn.Dropout(0.2), nn.Linear(32, 1))

    def forward(self, x):
        return self.net((x - self.x_mean) / self.x_std) * self.y_std + self.y_mean


def write_files(folder, seed):
    """train.csv, valid.csv and test.csv with 60, 20 and 20 % of the patients in random order."""
    study = load_diabetes(scaled=False)
    table = np.column_stack([study.data, study.target])[np.random.default_rng(seed).permutation(len(study.target))]
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(("train", "valid", "test"), np.split(table, [265, 353]), strict=True):
        with open(folder / f"{name}.csv", "w", newline="") as stream:
            csv.writer(stream).writerows([[*study.feature_names, "progression"], *rows.tolist()])


def train_epoch(model, loader, criterion, optimizer, device):
    model.train()
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()


def validate(model, loader, criterion, device):
    model.eval()
    total = 0.0
    for x, y in loader:
        with torch.no_grad():
            total += criterion(model(x.to(device)), y.to(device)).item() * len(x)
    return total / len(loader.dataset)


def predict(model, loader, device):
    model.eval()
    with torch.no_grad():
        return torch.cat([model(x.to(device)).cpu() for x, _ in loader])


def plot(losses, truth, predicted, path):
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(np.sqrt(losses), label=["training", "validation"])
    left.set(title="root mean squared error", xlabel="epoch")
    left.legend()
    right.scatter(truth, predicted, s=12)
    right.axline((150, 150), slope=1, color="gray", linewidth=1)
    right.set(title="test set", xlabel="measured progression", ylabel="predicted progression")
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("outputs/regression_csv"))
    parser.add_argument("--workers", type=int, default=0, help="processes that load data")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    if not (args.data / "train.csv").exists():
        write_files(args.data, args.seed)
    train, valid, test = (MyDataset(args.data / f"{name}.csv") for name in ("train", "valid", "test"))
    options = {"num_workers": args.workers, "persistent_workers": args.workers > 0}
    train_loader = DataLoader(train, batch_size=16, shuffle=True, **options)
    valid_loader, test_loader = DataLoader(valid, batch_size=64, **options), DataLoader(test, batch_size=64)

    model = MyModel(train).to(args.device)
    criterion = nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=3e-7, momentum=0.9)  # small: the loss is in squared units of the target
    losses, best = [], float("inf")
    for _ in (bar := tqdm(range(args.epochs), desc="training")):
        train_epoch(model, train_loader, criterion, optimizer, args.device)
        losses.append((validate(model, train_loader, criterion, args.device), validate(model, valid_loader, criterion, args.device)))
        bar.set_postfix(train=f"{losses[-1][0]:.0f}", valid=f"{losses[-1][1]:.0f}")
        if losses[-1][1] < best:
            best = losses[-1][1]
            torch.save(model.state_dict(), args.data / "model.pt")

    model.load_state_dict(torch.load(args.data / "model.pt"))
    predicted = predict(model, test_loader, args.device)
    error, spread = nn.functional.mse_loss(predicted, test.target).item(), ((test.target - train.target.mean()) ** 2).mean().item()
    print(f"test: root mean squared error {error ** 0.5:.1f}; predicting the mean would give {spread ** 0.5:.1f} (R² {1 - error / spread:.2f})")
    with open(args.data / "predictions.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([["measured", "predicted"], *torch.cat([test.target, predicted], dim=1).tolist()])
    plot(losses, test.target.numpy(), predicted.numpy(), args.data / "regression.png")
    print(f"written: {args.data / 'predictions.csv'} and {args.data / 'regression.png'}")


if __name__ == "__main__":
    main()
