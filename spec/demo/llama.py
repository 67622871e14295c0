"""SmolLM2 in PyTorch, small: the frozen Llama with a LoRA beside every matrix and own rows for the control tokens.
Training runs many conversations behind one shared prefix (the system message), which is computed once."""
import torch
import torch.nn.functional as F

from smollm2_to_gptoss import CONTROL, MATRICES, apply_adapter, read_llama, read_safetensors

N_HEAD, N_KV_HEAD, HEAD_DIM, THETA, EPS = 9, 3, 64, 100000.0, 1e-5
IDS = sorted(CONTROL)


class RMSNorm(torch.autograd.Function):
    """Saves only x and one number a row; backward is worked out by hand, which halves the time of a step."""

    @staticmethod
    def forward(ctx, x, gain):
        scale = torch.rsqrt(torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1] + EPS)
        ctx.save_for_backward(x, gain, scale)
        return (x * scale).mul_(gain).bfloat16()

    @staticmethod
    def backward(ctx, grad):
        x, gain, scale = ctx.saved_tensors
        grad = grad.float().mul_(gain)
        along = (grad * x).sum(-1, keepdim=True) * scale.pow(3) / x.shape[-1]
        return grad.mul_(scale).sub_(x * along), None


def rms_norm(x, gain):
    return RMSNorm.apply(x, gain)


class HeadLoss(torch.autograd.Function):
    """Mean cross-entropy of bf16 x [n][d] through the head; the gradient is made while the logits are at hand."""

    @staticmethod
    def forward(ctx, x, head_rows, embed, target):
        weight = embed.clone()
        weight[IDS] = head_rows.bfloat16()
        p = F.linear(x, weight).float()
        chosen = p.gather(1, target[:, None])
        loss = (p.logsumexp(-1, keepdim=True) - chosen).mean()
        p = torch.softmax(p, -1)
        p.scatter_add_(1, target[:, None], torch.full_like(chosen, -1.0))
        grad = p.bfloat16()
        ctx.save_for_backward(grad @ weight, grad[:, IDS].T.float() @ x.float())
        return loss

    @staticmethod
    def backward(ctx, grad):
        by_x, by_rows = ctx.saved_tensors
        return by_x * (grad / len(by_x)), by_rows * (grad / len(by_x)), None, None


def attention(q, k, v, sees):
    """q, k, v [b][head][..][HEAD_DIM]. For rows this short plain products beat the fused kernel's backward."""
    scores = (q @ k.transpose(-1, -2)).float() * HEAD_DIM**-0.5
    return scores.masked_fill(~sees, -1e30).softmax(-1).bfloat16() @ v


def rotate(x, position):
    """x [..][T][head][HEAD_DIM], position [T]; half-split pairs"""
    frequency = THETA ** (-torch.arange(0, HEAD_DIM, 2, dtype=torch.float32) / HEAD_DIM)
    angle = position[:, None].float() * frequency
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).bfloat16()


class Llama(torch.nn.Module):
    def __init__(self, path, rank=0, adapter=None):
        """rank 0: the model as it is, or with an adapter file merged into it"""
        super().__init__()
        _, llama = read_llama(path)
        if adapter:
            apply_adapter(llama, read_safetensors(adapter))
        self.embed = torch.tensor(llama["embed"]).bfloat16()
        self.head = torch.tensor(llama["head"]).bfloat16() if adapter else self.embed
        self.head_float = None  # made when it is first needed
        self.norm = torch.tensor(llama["norm"])
        self.layers = [{name: torch.tensor(value) if "norm" in name else torch.tensor(value).bfloat16()
                        for name, value in layer.items()} for layer in llama["layers"]]
        self.rank = rank
        self.a, self.b = torch.nn.ParameterDict(), torch.nn.ParameterDict()
        for name in MATRICES:
            rows, cols = self.layers[0][name].shape
            n = len(self.layers)
            self.a[name] = torch.nn.Parameter(torch.randn(n, rank, cols) / cols**0.5)
            self.b[name] = torch.nn.Parameter(torch.zeros(n, rows, rank))
        rows = self.embed[IDS].float()
        self.embed_rows, self.head_rows = torch.nn.Parameter(rows.clone()), torch.nn.Parameter(rows.clone())

    def start_rows_from(self, ids):
        """Begins each control token as a token that the model already knows."""
        with torch.no_grad():
            for rows in (self.embed_rows, self.head_rows):
                rows.copy_(self.embed[[ids[i] for i in IDS]].float())

    def linear(self, x, i, name):
        y = F.linear(x, self.layers[i][name])
        if self.rank:
            a, b = self.factors[name]
            y = y + F.linear(F.linear(x, a[i]), b[i])
        return y

    def unbind_factors(self):
        """Once a pass: taking the layers apart one by one would make backward add up full-sized zeros."""
        self.factors = {name: (self.a[name].bfloat16().unbind(0), self.b[name].bfloat16().unbind(0))
                        for name in MATRICES}

    def embedding(self, ids):
        x = self.embed[ids].float()
        if self.rank:
            own = torch.zeros(len(self.embed), dtype=torch.long)
            own[IDS] = torch.arange(1, len(IDS) + 1)
            which = own[ids]
            x = torch.where((which > 0)[..., None], self.embed_rows[(which - 1).clamp(min=0)], x)
        return x

    def logits(self, x):
        """x: the residual stream [n][d] -> [n][vocabulary], in float32: bf16 logits, an eighth apart, are too coarse to
        choose by"""
        if self.head_float is None:
            self.head_float = self.head.float()
        x = rms_norm(x, self.norm).float()
        out = F.linear(x, self.head_float)
        if self.rank:
            out[:, IDS] = F.linear(x, self.head_rows)
        return out

    def loss(self, x, target):
        return HeadLoss.apply(rms_norm(x, self.norm), self.head_rows, self.embed, target)

    def block(self, x, i, attend):
        """One layer; attend(q, k, v) mixes positions."""
        n = x.shape[0]
        h = rms_norm(x, self.layers[i]["attn_norm"])
        q = self.linear(h, i, "q").view(n, N_HEAD, HEAD_DIM)
        k = self.linear(h, i, "k").view(n, N_KV_HEAD, HEAD_DIM)
        v = self.linear(h, i, "v").view(n, N_KV_HEAD, HEAD_DIM)
        x = x + self.linear(attend(i, q, k, v).reshape(n, -1), i, "o").float()
        h = rms_norm(x, self.layers[i]["mlp_norm"])
        return x + self.linear(F.silu(self.linear(h, i, "gate")) * self.linear(h, i, "up"), i, "down").float()

    def shared_prefix(self, prefix, batch):
        """prefix [P] ids, batch [B][T] ids that each continue it -> residual stream [P + B*T][d]"""
        p, (b, t) = len(prefix), batch.shape
        position = torch.cat([torch.arange(p), torch.arange(p, p + t).repeat(b)])
        sees_head = torch.ones(p, p, dtype=torch.bool).tril()
        self.unbind_factors()
        sees = torch.cat([torch.ones(t, p, dtype=torch.bool), torch.ones(t, t, dtype=torch.bool).tril()], 1)

        def attend(_, q, k, v):
            q, k = rotate(q, position), rotate(k, position)
            k, v = (z.repeat_interleave(N_HEAD // N_KV_HEAD, 1) for z in (k, v))
            head = [z[:p].transpose(0, 1)[None] for z in (q, k, v)]
            tail = [z[p:].view(b, t, N_HEAD, HEAD_DIM).transpose(1, 2) for z in (q, k, v)]
            first = attention(*head, sees_head)[0].transpose(0, 1)
            keys, values = (torch.cat([head[j].expand(b, -1, -1, -1), tail[j]], 2) for j in (1, 2))
            rest = attention(tail[0], keys, values, sees)
            return torch.cat([first, rest.transpose(1, 2).reshape(b * t, N_HEAD, HEAD_DIM)])

        x = self.embedding(torch.cat([prefix, batch.reshape(-1)]))
        for i in range(len(self.layers)):
            x = self.block(x, i, attend)
        return x

    @torch.no_grad()
    def generate(self, prompts, stops, n_new, temperature=0.0, top_p=1.0, generator=None):
        """prompts: lists of ids of any lengths -> for each the ids that follow, a stop token included"""
        b, longest = len(prompts), max(map(len, prompts))
        self.unbind_factors()
        ids = torch.zeros(b, longest, dtype=torch.long)
        real = torch.zeros(b, longest + n_new, dtype=torch.bool)
        for row, prompt in enumerate(prompts):  # aligned on the right
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            real[row, longest - len(prompt) : longest] = True
        real[:, longest:] = True
        cache = [[torch.zeros(b, N_HEAD, longest + n_new, HEAD_DIM, dtype=torch.bfloat16) for _ in "kv"]
                 for _ in self.layers]
        out, done, start = [[] for _ in prompts], [False] * b, 0
        while True:
            t = ids.shape[1]
            sees = real[:, None, None, : start + t] & torch.ones(t, start + t, dtype=torch.bool).tril(start)
            sees = sees | torch.eye(t, start + t, dtype=torch.bool).roll(start, 1)  # padding sees itself
            position = torch.arange(start, start + t).repeat(b)

            def attend(i, q, k, v, t=t, start=start, sees=sees, position=position):
                q, k = rotate(q, position), rotate(k, position)
                k, v = (z.repeat_interleave(N_HEAD // N_KV_HEAD, 1) for z in (k, v))
                q, k, v = (z.view(b, t, N_HEAD, HEAD_DIM).transpose(1, 2) for z in (q, k, v))
                for held, new in zip(cache[i], (k, v)):
                    held[:, :, start : start + t] = new
                keys, values = (held[:, :, : start + t] for held in cache[i])
                return F.scaled_dot_product_attention(q, keys, values, attn_mask=sees).transpose(1, 2)

            x = self.embedding(ids.reshape(-1))
            for i in range(len(self.layers)):
                x = self.block(x, i, attend)
            picked = pick(self.logits(x.view(b, t, -1)[:, -1]), temperature, top_p, generator)
            start += t
            for row, token in enumerate(picked.tolist()):
                if not done[row]:
                    out[row].append(token)
                    done[row] = token in stops
            if all(done) or start >= longest + n_new:
                return out
            ids = picked[:, None]


def pick(logits, temperature, top_p, generator):
    if temperature == 0:
        return logits.argmax(-1)
    values, order = (logits / temperature).topk(100)
    probability = values.softmax(-1)
    probability[(probability.cumsum(-1) - probability) > top_p] = 0
    return order.gather(-1, torch.multinomial(probability, 1, generator=generator))[:, 0]
