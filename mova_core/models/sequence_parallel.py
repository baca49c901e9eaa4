"""One sample's tokens spread over several processes while sampling (DeepSpeed-Ulysses, arXiv 2309.14509).

Every process holds a run of consecutive tokens of each modality. All layers work token by token except attention:
there the processes exchange, so that each has all tokens of a share of the heads, attends, and exchanges back. The runs
differ by one token where the number of processes does not divide their sum, so nothing is padded and nothing masked.

Axes: b sample, l token, h head, c channel of a head, d channel.
"""

from __future__ import annotations

import dataclasses
import itertools

import torch
import torch.distributed as dist


@dataclasses.dataclass(frozen=True)
class Part:
    """The tokens of one modality that this process holds.

    Attributes
    ----------
    lengths : tokens of every process, in order.
    rank : this process among them.
    group : how they talk; None for the default group.
    """

    lengths: tuple[int, ...]
    rank: int
    group: dist.ProcessGroup | None = None

    @property
    def first_token(self) -> int:
        """Where the part begins in the whole sequence."""
        return sum(self.lengths[: self.rank])

    @property
    def length(self) -> int:
        """Tokens in the part."""
        return self.lengths[self.rank]

    def of(self, whole_bld: torch.Tensor) -> torch.Tensor:
        """This process's tokens of a sequence that every process has."""
        return whole_bld[:, self.first_token : self.first_token + self.length].contiguous()

    def gathered(self, part_bld: torch.Tensor) -> torch.Tensor:
        """The whole sequence, on every process. Collective."""
        batch, _, width = part_bld.shape
        parts = [part_bld.new_empty(batch, length, width) for length in self.lengths]
        # Parts differ in length, which all_gather does not allow everywhere: each is sent by its own process.
        for rank, part in enumerate(parts):
            if rank == self.rank:
                part.copy_(part_bld)
            dist.broadcast(part, group=self.group, group_src=rank)
        return torch.cat(parts, dim=1)

    def by_heads(self, part_blhc: torch.Tensor) -> torch.Tensor:
        """From all heads of this part's tokens to all tokens of this process's heads. Collective."""
        batch, length, heads, width = part_blhc.shape
        shares = len(self.lengths)
        sent = part_blhc.reshape(batch, length, shares, heads // shares, width).permute(2, 1, 0, 3, 4).flatten(0, 1)
        whole = sent.new_empty(sum(self.lengths), batch, heads // shares, width)
        dist.all_to_all_single(whole, sent.contiguous(), list(self.lengths), [length] * shares, group=self.group)
        return whole.transpose(0, 1)

    def by_tokens(self, whole_blhc: torch.Tensor) -> torch.Tensor:
        """Back from `by_heads`. Collective."""
        batch, _, heads, width = whole_blhc.shape
        shares = len(self.lengths)
        sent = whole_blhc.transpose(0, 1).contiguous()
        part = sent.new_empty(shares * self.length, batch, heads, width)
        dist.all_to_all_single(part, sent, [self.length] * shares, list(self.lengths), group=self.group)
        return part.view(shares, self.length, batch, heads, width).permute(2, 1, 0, 3, 4).flatten(2, 3)


def part_of(num_tokens: int, num_processes: int, rank: int, group: dist.ProcessGroup | None = None) -> Part:
    """The tokens of process `rank`: as even as whole tokens allow, the longer runs first.

    Raises
    ------
    ValueError : if a process would hold none.
    """
    if num_tokens < num_processes:
        raise ValueError(f"{num_tokens} tokens over {num_processes} processes; expected at least one each")
    each, rest = divmod(num_tokens, num_processes)
    lengths = itertools.chain(itertools.repeat(each + 1, rest), itertools.repeat(each, num_processes - rest))
    return Part(tuple(lengths), rank, group)
