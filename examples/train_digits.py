"""Real handwritten digits: an MLP and a small CNN, trained, validated, tested, saved, loaded back and shown.

    python examples/train_digits.py
    python examples/train_digits.py --device cuda:1 --epochs 20 --models cnn
"""
import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from tqdm import tqdm

import cltorch as torch
from cltorch import nn, optim
from cltorch.utils.data import DataLoader, TensorDataset, random_split


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))

    def forward(self, x):
        return self.layers(x)


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64 * 4 * 4, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))

    def forward(self, x):
        return self.head(self.features(x))


def load_data(batch_size, seed):
    """Three loaders over 1797 real digits of 8 by 8 pixels: 70 % to train, 15 % to validate, 15 % to test."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    dataset = TensorDataset(images, torch.tensor(digits.target))
    train, valid, test = random_split(dataset, [0.7, 0.15, 0.15], torch.Generator().manual_seed(seed))
    return DataLoader(train, batch_size, shuffle=True), DataLoader(valid, 256), DataLoader(test, 256)


def train_epoch(model, loader, criterion, optimizer, device):
    model.train()
    total = torch.zeros((), device=device)
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(x)
    return total.item() / len(loader.dataset)


def evaluate(model, loader, criterion, device):
    """Mean loss, accuracy, and the predicted class of every sample."""
    model.eval()
    loss, predicted, correct = 0.0, [], 0
    with torch.no_grad():
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            scores = model(x)
            loss += criterion(scores, y).item() * len(x)
            classes = scores.argmax(dim=1)
            correct += (classes == y).sum().item()
            predicted += classes.tolist()
    return loss / len(loader.dataset), correct / len(loader.dataset), predicted


def fit(name, model, loaders, args, path):
    """Trains, keeps the weights that were best on the validation set, loads them back from the file and tests those."""
    train_loader, valid_loader, test_loader = loaders
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.AdamW(model.parameters(), lr=args.lr)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)
    history, best = [], float("inf")
    for _ in (bar := tqdm(range(args.epochs), desc=f"{name:>4}")):
        train_loss = train_epoch(model, train_loader, criterion, optimizer, args.device)
        valid_loss, accuracy, _ = evaluate(model, valid_loader, criterion, args.device)
        scheduler.step()
        history.append((train_loss, valid_loss))
        bar.set_postfix(train=f"{train_loss:.4f}", valid=f"{valid_loss:.4f}", accuracy=f"{accuracy:.1%}")
        if valid_loss < best:
            best = valid_loss
            torch.save(model.state_dict(), path)
    loaded = type(model)().to(args.device)
    loaded.load_state_dict(torch.load(path, map_location=args.device))
    loss, accuracy, predicted = evaluate(loaded, test_loader, criterion, args.device)
    print(f"{name}: test loss {loss:.4f}, test accuracy {accuracy:.2%} (weights loaded back from {path})")
    return history, predicted


def plot(results, test_loader, path):
    """The loss curves, and for each model the test digits that it got wrong."""
    images, labels = (torch.cat(parts).numpy() for parts in zip(*test_loader, strict=True))
    figure = plt.figure(figsize=(10, 3.2 * len(results)), layout="constrained")
    parts = figure.subfigures(len(results), 1, squeeze=False)[:, 0]
    for row, (part, (name, (history, predicted))) in enumerate(zip(parts, results.items(), strict=True)):
        left, right = part.subfigures(1, 2)
        axes = left.subplots()
        axes.semilogy(history, label=["training", "validation"])
        axes.set(title=f"{name}: loss", xlabel="epoch" if row == len(results) - 1 else "")
        axes.legend()
        wrong = [i for i, label in enumerate(labels) if predicted[i] != label]
        right.suptitle(f"{name}: {len(wrong)} of {len(labels)} test digits misclassified")
        grid = right.subplots(2, 5)
        for cell in grid.flat:
            cell.set_axis_off()
        for cell, i in zip(grid.flat, wrong, strict=False):
            cell.imshow(images[i, 0], cmap="gray_r")
            cell.set_title(f"{labels[i]}, seen as {predicted[i]}", fontsize=8)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="+", choices=["mlp", "cnn"], default=["mlp", "cnn"])
    parser.add_argument("--out", type=Path, default=Path("outputs/train_digits"))
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.device != "cpu":
        print(f"device {args.device}: {torch.cuda.get_device_name(args.device)}")
    loaders = load_data(args.batch_size, args.seed)
    results = {}
    for name in args.models:
        model = {"mlp": MLP, "cnn": CNN}[name]().to(args.device)
        results[name] = fit(name, model, loaders, args, args.out / f"{name}.pt")
    plot(results, loaders[2], args.out / "digits.png")
    print(f"pictures: {args.out / 'digits.png'}")


if __name__ == "__main__":
    main()
