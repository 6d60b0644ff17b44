"""A tour of tensors: every line is printed, then run, and its result shown.

    python examples/tensor_basics.py
    python examples/tensor_basics.py --device cpu
"""
import argparse
import ast

import numpy as np
from tqdm import tqdm

import cltorch as torch

TOUR = {
    "Making tensors": """
        torch.tensor([[1, -1], [-1, 1]])
        torch.from_numpy(np.array([[1.0, -1.0], [-1.0, 1.0]]))
        torch.zeros(2, 2)
        torch.ones([1, 2, 5])
        torch.rand(2, 3)
        torch.arange(10).reshape(2, 5)
        """,
    "Shape, type, device": """
        x = torch.ones(3, 5, 2)
        x.shape
        x.dtype
        x.device
        torch.tensor([1, 2, 3]).dtype
        torch.FloatTensor([1, 2, 3])
        torch.LongTensor([1, 2, 3])
        """,
    "Casting": """
        x = torch.tensor([1.7, -2.5, 0.0])
        x.long()
        x.to(torch.float16)
        x.bool()
        x.int() + 0.5
        torch.tensor([1], dtype=torch.uint8) + torch.tensor([-1], dtype=torch.int8)
        """,
    "Arithmetic": """
        x, y = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0])
        x + y
        x - y
        x * y
        x / y
        x ** 2
        x.pow(2)
        x @ y
        x.sum(), x.mean(), x.max(), x.argmax()
        torch.arange(6).reshape(2, 3).sum(dim=1)
        torch.ones(3, 1) + torch.ones(1, 4)
        """,
    "Changing shape": """
        x = torch.zeros(2, 3)
        x.transpose(0, 1).shape
        x = torch.zeros(1, 2, 3)
        x.squeeze(0).shape
        x.squeeze(0).unsqueeze(1).shape
        x.permute(2, 0, 1).shape
        torch.cat([torch.zeros(2, 1, 3), torch.zeros(2, 3, 3), torch.zeros(2, 2, 3)], dim=1).shape
        torch.stack([torch.zeros(3), torch.ones(3)])
        torch.bmm(torch.ones(10, 3, 4), torch.ones(10, 4, 5)).shape
        """,
    "Indexing; views share memory": """
        x = torch.arange(12).reshape(3, 4)
        x[1]
        x[:, 1:3]
        x[x > 6]
        x[[0, 2], [1, 3]]
        row = x[0]
        row[0] = 100
        x
        """,
    "NumPy": """
        a = np.zeros(3)
        t = torch.from_numpy(a)
        a[0] = 7
        t
        t.numpy()
        t[0].item(), t.tolist()
        """,
    "Devices": """
        torch.cuda.is_available(), torch.cuda.device_count()
        torch.cuda.get_device_name() if torch.cuda.is_available() else "no OpenCL device"
        x = torch.ones(2, 2).to(device)
        x + x
        x.cpu()
        """,
    "Gradients": """
        x = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], requires_grad=True)
        z = x.pow(2).sum()
        z
        z.backward()
        x.grad
        """,
}


def run(line, names):
    """Prints a line of Python, runs it, and prints its value if it has one."""
    tqdm.write(f">>> {line}")
    if not isinstance(ast.parse(line).body[0], ast.Expr):
        exec(line, names)
    elif (value := eval(line, names)) is not None:
        tqdm.write(repr(value))


def descend(device, steps):
    """Gradient descent by hand: fits a line to noisy points."""
    x = torch.linspace(-1, 1, 100, device=device)
    y = 3 * x + 0.5 + 0.1 * torch.randn(100, device=device)
    w, b = (torch.zeros((), device=device, requires_grad=True) for _ in range(2))
    for _ in (bar := tqdm(range(steps), desc="fitting y = 3 x + 0.5")):
        loss = ((w * x + b - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            for p in (w, b):
                p -= 0.2 * p.grad
                p.grad.zero_()
        bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
    print(f"found: y = {w.item():.2f} x + {b.item():.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--epochs", type=int, default=100, help="steps of the gradient descent at the end")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    names = {"torch": torch, "np": np, "device": args.device}
    for title, lines in TOUR.items():
        tqdm.write(f"\n# {title}\n")
        for line in lines.strip().splitlines():
            run(line.strip(), names)
    tqdm.write("\n# Learning\n")
    descend(args.device, args.epochs)


if __name__ == "__main__":
    main()
