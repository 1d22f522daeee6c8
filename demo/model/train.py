#!/usr/bin/env python3
"""Train, or train on, the small Llama-architecture model that the demo embeds.

usage: train.py --tokens KIDS.bin --valid VALID.bin --out DIR [--from CHECKPOINT_DIR] [--minutes 60] ...

Token files are uint16 little-endian ids; documents start with id 0. `--from` continues a Hugging Face Llama checkpoint
(its config wins over the size options, but for --context). Writes a Hugging Face checkpoint; compress it with
`npm run -s tansy -- compress DIR -o demo/models/NAME.tansy`. Needs numpy and torch (Debian: python3-numpy python3-torch
libopenblas0-pthread). On CPUs two processes of one thread are faster than one of two: start it twice, with
WORLD_SIZE=2 RANK=0|1 MASTER_ADDR=127.0.0.1 MASTER_PORT=29511 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1.
"""
import argparse, json, math, os, shutil, struct, time
import numpy as np, torch, torch.distributed, torch.nn as nn, torch.nn.functional as F


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--tokens', required=True), p.add_argument('--valid', required=True), p.add_argument('--out', required=True)
    p.add_argument('--from', dest='source'), p.add_argument('--tokenizer', help='directory with tokenizer files (default: --from)')
    for name, value in dict(hidden=192, layers=6, heads=6, kv_heads=3, intermediate=512, vocab=4096, context=0, batch=8, threads=1, seed=1).items():
        p.add_argument('--' + name.replace('_', '-'), type=int, default=value)
    p.add_argument('--minutes', type=float, default=60), p.add_argument('--lr', type=float, default=2e-3)
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return p.parse_args()


def rms_norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class Llama(nn.Module):
    """Weights under their Hugging Face names, so that saving needs no renaming."""

    def __init__(self, c):
        super().__init__()
        self.c, self.w = c, nn.ParameterDict()
        h, d = c['hidden_size'], c['head_dim']
        shapes = {'model.embed_tokens.weight': (c['vocab_size'], h), 'model.norm.weight': (h,)}
        for i in range(c['num_hidden_layers']):
            at = f'model.layers.{i}.'
            shapes |= {at + 'input_layernorm.weight': (h,), at + 'post_attention_layernorm.weight': (h,),
                       at + 'self_attn.q_proj.weight': (c['num_attention_heads'] * d, h), at + 'self_attn.k_proj.weight': (c['num_key_value_heads'] * d, h),
                       at + 'self_attn.v_proj.weight': (c['num_key_value_heads'] * d, h), at + 'self_attn.o_proj.weight': (h, c['num_attention_heads'] * d),
                       at + 'mlp.gate_proj.weight': (c['intermediate_size'], h), at + 'mlp.up_proj.weight': (c['intermediate_size'], h),
                       at + 'mlp.down_proj.weight': (h, c['intermediate_size'])}
        for name, shape in shapes.items():
            out = name.endswith(('o_proj.weight', 'down_proj.weight'))
            std = 0.02 / (math.sqrt(2 * c['num_hidden_layers']) if out else 1)
            self.w[name.replace('.', '/')] = nn.Parameter(torch.ones(shape) if len(shape) == 1 else torch.randn(shape) * std)
        t = torch.arange(c['max_position_embeddings']).float()[:, None] * (1.0 / c['rope_theta'] ** (torch.arange(0, d, 2).float() / d))[None]
        t = torch.cat((t, t), -1)
        self.register_buffer('cos', t.cos()), self.register_buffer('sin', t.sin())

    def forward(self, ids):
        c, n = self.c, ids.shape[1]
        w = lambda name: self.w[name.replace('.', '/')]
        cos, sin = self.cos[:n], self.sin[:n]
        mask = torch.full((n, n), float('-inf'), device=ids.device).triu(1)
        x = w('model.embed_tokens.weight')[ids]
        split = lambda y, k: y.view(*ids.shape, k, c['head_dim']).transpose(1, 2)
        for i in range(c['num_hidden_layers']):
            at = f'model.layers.{i}.'
            a = rms_norm(x, w(at + 'input_layernorm.weight'))
            q, k, v = (split(F.linear(a, w(f'{at}self_attn.{p}_proj.weight')), n_heads) for p, n_heads in
                       (('q', c['num_attention_heads']), ('k', c['num_key_value_heads']), ('v', c['num_key_value_heads'])))
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            repeat = c['num_attention_heads'] // c['num_key_value_heads']
            k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
            y = torch.softmax(q @ k.transpose(-1, -2) * c['head_dim'] ** -0.5 + mask, -1) @ v
            x = x + F.linear(y.transpose(1, 2).reshape(*ids.shape, -1), w(at + 'self_attn.o_proj.weight'))
            m = rms_norm(x, w(at + 'post_attention_layernorm.weight'))
            gated = F.silu(F.linear(m, w(at + 'mlp.gate_proj.weight'))) * F.linear(m, w(at + 'mlp.up_proj.weight'))
            x = x + F.linear(gated, w(at + 'mlp.down_proj.weight'))
        return F.linear(rms_norm(x, w('model.norm.weight')), w('model.embed_tokens.weight'))


def read_safetensors(path):
    with open(path, 'rb') as f:
        header = json.loads(f.read(struct.unpack('<Q', f.read(8))[0])); base = f.tell()
        for name, t in header.items():
            if name == '__metadata__': continue
            f.seek(base + t['data_offsets'][0])
            raw = f.read(t['data_offsets'][1] - t['data_offsets'][0])
            assert t['dtype'] == 'F32', t['dtype']
            yield name, torch.from_numpy(np.frombuffer(raw, np.float32).copy()).view(t['shape'])


def save(net, config, a, log):
    os.makedirs(a.out, exist_ok=True)
    header, offset, blobs = {'__metadata__': {'format': 'pt'}}, 0, []
    for name, value in net.w.items():
        raw = value.detach().float().cpu().contiguous().numpy().tobytes()
        header[name.replace('/', '.')] = dict(dtype='F32', shape=list(value.shape), data_offsets=[offset, offset + len(raw)])
        offset += len(raw); blobs.append(raw)
    text = json.dumps(header).encode(); text += b' ' * (-len(text) % 8)
    with open(a.out + '/model.safetensors.part', 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        for raw in blobs: f.write(raw)
    os.replace(a.out + '/model.safetensors.part', a.out + '/model.safetensors')
    json.dump(config, open(a.out + '/config.json', 'w'), indent=1)
    json.dump(log, open(a.out + '/train_log.json', 'w'), indent=1)
    for name in ('tokenizer.json', 'tokenizer_config.json'): shutil.copy(os.path.join(a.tokenizer or a.source, name), a.out)


def main():
    a = arguments()
    torch.manual_seed(a.seed); torch.set_num_threads(a.threads)
    config = json.load(open(a.source + '/config.json')) if a.source else dict(
        architectures=['LlamaForCausalLM'], model_type='llama', hidden_size=a.hidden, intermediate_size=a.intermediate, num_hidden_layers=a.layers,
        num_attention_heads=a.heads, num_key_value_heads=a.kv_heads, head_dim=a.hidden // a.heads, vocab_size=a.vocab, max_position_embeddings=a.context or 256,
        rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act='silu', tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, torch_dtype='float32')
    if a.context: config['max_position_embeddings'] = a.context
    rank, ranks = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
    if ranks > 1: torch.distributed.init_process_group('gloo')
    net = Llama(config)
    if a.source:
        for name, value in read_safetensors(a.source + '/model.safetensors'): net.w[name.replace('.', '/')].data.copy_(value)
    net.to(a.device)
    train, valid = np.fromfile(a.tokens, np.uint16), np.fromfile(a.valid, np.uint16)
    n = config['max_position_embeddings']; rng = np.random.default_rng([a.seed, rank])

    def loss_at(data, starts):
        x = torch.from_numpy(np.stack([data[i:i + n + 1] for i in starts]).astype(np.int64)).to(a.device)
        return F.cross_entropy(net(x[:, :-1]).float().view(-1, config['vocab_size']), x[:, 1:].reshape(-1))

    def validate():
        with torch.no_grad(): return float(np.mean([loss_at(valid, range(i, i + 8 * n, n)).item() for i in range(0, min(len(valid) - 8 * n - 1, 64 * n), 8 * n)]))

    matrices = [p for p in net.parameters() if p.dim() == 2]; vectors = [p for p in net.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([dict(params=matrices, weight_decay=0.1), dict(params=vectors, weight_decay=0)], lr=a.lr, betas=(0.9, 0.95))
    start, step, log, next_log = time.time(), 0, [], 0.0

    def time_done():
        t = torch.tensor((time.time() - start) / 60 / a.minutes)
        if ranks > 1: torch.distributed.broadcast(t, 0)  # all must agree on when to end
        return t.item()

    while (done := time_done()) < 1:
        if rank == 0 and done * a.minutes >= next_log:
            next_log += max(1, a.minutes / 40)
            log.append(dict(step=step, minutes=round(done * a.minutes, 1), tokens=step * a.batch * n * ranks, valid=round(validate(), 4)))
            print(log[-1], f'{(1 - done) * a.minutes:.0f} minutes left', flush=True); save(net, config, a, log)
        # warm up, hold, then linear decay over the second half
        rate = a.lr * min(1, (step + 1) / 100) * min(1, max(0.01, (1 - done) / 0.5))
        for group in optimizer.param_groups: group['lr'] = rate
        loss = loss_at(train, rng.integers(0, len(train) - n - 1, a.batch))
        optimizer.zero_grad(set_to_none=True); loss.backward()
        if ranks > 1:
            flat = torch.cat([p.grad.view(-1) for p in net.parameters()])
            torch.distributed.all_reduce(flat)
            for p, part in zip(net.parameters(), flat.div_(ranks).split([p.numel() for p in net.parameters()])): p.grad.copy_(part.view_as(p))
        nn.utils.clip_grad_norm_(net.parameters(), 1.0); optimizer.step(); step += 1
    if rank: return
    log.append(dict(step=step, minutes=a.minutes, tokens=step * a.batch * n * ranks, valid=round(validate(), 4)))
    print(log[-1]); save(net, config, a, log)


if __name__ == '__main__': main()
