"""A small transformer learns, character by character, to write like the documentation in Python's standard library.

    python examples/char_gpt.py
    python examples/char_gpt.py --epochs 20 --prompt "Return the "
"""
import argparse
import ast
import math
import sysconfig
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from tqdm import tqdm

import cltorch as torch
from cltorch import nn, optim
from cltorch.nn import functional as F

SKIP = {"site-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip"}


def documentation():
    """The documentation strings of the standard library's modules, classes and functions, read from its source files."""
    root, texts = Path(sysconfig.get_path("stdlib")), []
    for path in sorted([*root.glob("*.py"), *root.glob("*/*.py")]):
        if SKIP.isdisjoint(path.relative_to(root).parts):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                    texts.append(ast.get_docstring(node) or "")
    return "\n\n".join(text for text in dict.fromkeys(texts) if text and text.isascii())


class Block(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout))

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, dim=2))
        seen = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norm2(x))


class CharGPT(nn.Module):
    def __init__(self, characters, context=64, width=96, layers=3, heads=4, dropout=0.1):
        super().__init__()
        self.context = context
        self.token, self.position = nn.Embedding(characters, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(layers)), nn.LayerNorm(width))
        self.head = nn.Linear(width, characters, bias=False)

    def forward(self, ids):
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.head(self.blocks(self.token(ids) + self.position(places)))

    @torch.no_grad()
    def generate(self, ids, count, temperature=0.8):
        self.eval()
        for _ in range(count):
            scores = self(ids[:, -self.context:])[:, -1] / temperature
            ids = torch.cat([ids, torch.multinomial(F.softmax(scores, dim=-1), 1)], dim=1)
        return ids


def batch(ids, context, size, device):
    """Random windows of the text, and the same windows one character later."""
    starts = torch.randint(len(ids) - context - 1, (size, 1))
    windows = ids[starts + torch.arange(context + 1)].to(device)
    return windows[:, :-1], windows[:, 1:]


def mean_loss(model, ids, args, batches=10):
    model.eval()
    with torch.no_grad():
        losses = [F.cross_entropy(model(x).flatten(0, 1), y.flatten())
                  for x, y in (batch(ids, model.context, args.batch_size, args.device) for _ in range(batches))]
    return torch.stack(losses).mean().item()


def train_epoch(model, ids, optimizer, scheduler, args, bar):
    model.train()
    for step in range(args.steps):
        x, y = batch(ids, model.context, args.batch_size, args.device)
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        bar.update()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--epochs", type=int, default=5, help="of --steps batches each")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompt", default="Return ")
    parser.add_argument("--length", type=int, default=300, help="characters of each sample")
    parser.add_argument("--out", type=Path, default=Path("outputs/char_gpt"))
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)

    text = documentation()
    characters = sorted(set(text))
    index = {c: i for i, c in enumerate(characters)}
    ids = torch.tensor([index[c] for c in text])
    train, valid = ids[:-len(ids) // 20], ids[-len(ids) // 20:]
    model = CharGPT(len(characters)).to(args.device)
    print(f"{len(text)} characters, {len(characters)} different; {sum(p.numel() for p in model.parameters())} parameters on {args.device}")
    optimizer = optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=args.epochs * args.steps, pct_start=0.1)
    prompt = torch.tensor([[index.get(c, 0) for c in args.prompt]], device=args.device)

    losses = [mean_loss(model, valid, args)]
    with tqdm(total=args.epochs * args.steps, desc="training") as bar:
        for epoch in range(args.epochs):
            train_epoch(model, train, optimizer, scheduler, args, bar)
            losses.append(mean_loss(model, valid, args))
            sample = "".join(characters[i] for i in model.generate(prompt, args.length)[0].tolist())
            bar.write(f"--- epoch {epoch + 1}: validation loss {losses[-1]:.3f} ({losses[-1] / math.log(2):.2f} bits a character)\n{sample}\n")
    torch.save({"model": model.state_dict(), "characters": characters}, args.out / "char_gpt.pt")

    plt.figure(figsize=(6, 4), layout="constrained")
    plt.plot([epoch * args.steps for epoch in range(len(losses))], losses, marker="o")
    plt.axhline(math.log(len(characters)), color="gray", linestyle=":", label="guessing")
    plt.xlabel("step")
    plt.ylabel("validation loss (nats a character)")
    plt.legend()
    plt.savefig(args.out / "loss.png", dpi=120)
    print(f"written: {args.out / 'char_gpt.pt'} and {args.out / 'loss.png'}")


if __name__ == "__main__":
    main()
