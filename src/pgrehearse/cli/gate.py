"""How a gate reads on a terminal: every reason why not, each with what to do about it."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from pgrehearse.release.gate import SHOWN_DETAILS

if TYPE_CHECKING:
    from pgrehearse.releasing import Examined


def show_gate(examined: "Examined", console: Console) -> None:
    """The receipt, its approvals, what a person should know, and the answer."""
    receipt = examined.receipt
    plan = ", ".join(entry["version"] for entry in receipt.document["plan"])
    console.print(Text(f"receipt {receipt.digest[:12]} ({receipt.verdict}): {plan}"))
    for approval in examined.approvals:
        remark = f": {approval.remark}" if approval.remark else ""
        console.print(Text(f"  approved by {approval.by}, {approval.at.isoformat(timespec='seconds')}{remark}"))
        for accepted in approval.accepted[:SHOWN_DETAILS]:
            console.print(Text(f"    accepts {accepted.finding}: {accepted.reason}"), soft_wrap=True)
        if len(approval.accepted) > SHOWN_DETAILS:
            console.print(Text(f"    and {len(approval.accepted) - SHOWN_DETAILS} more"))
    for told in examined.gate.told:
        console.print(Text(f"  note: {told}", style="dim"), soft_wrap=True)
    if examined.gate.is_open:
        console.print(Text("the gate is open", style="bold green"))
        return
    many = len(examined.gate.reasons)
    console.print(Text(f"the gate is closed for {many} {'reason' if many == 1 else 'reasons'}", style="bold red"))
    for reason in examined.gate.reasons:
        console.print(Text(f"  {reason.kind.value}: ", style="bold red"), Text(reason.message), sep="", soft_wrap=True)
        for detail in reason.details[:SHOWN_DETAILS]:
            console.print(Text(f"    {detail}"), soft_wrap=True)
        if len(reason.details) > SHOWN_DETAILS:
            console.print(Text(f"    and {len(reason.details) - SHOWN_DETAILS} more"))
        console.print(Text(f"    -> {reason.remedy}"), soft_wrap=True)
