"""``pgrehearse approve``: a person's yes to one receipt."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pgrehearse.release.approval import Approval


@click.command(
    "approve",
    epilog="""\b
Examples:
  pgrehearse approve                                    the newest receipt
  pgrehearse approve 3fa8c1 --remark "agreed in #db"
  pgrehearse approve 3fa8c1 --accept 'drop-column:public.users=nobody reads it since May'
  pgrehearse approve 3fa8c1 --withdraw""",
)
@click.argument("receipt", required=False)
@click.option("--remark", default="", help="Why, for those who read the ledger later.")
@click.option(
    "--accept",
    "accept",
    metavar="FINDING=REASON",
    multiple=True,
    help="Take one finding of the receipt upon yourself; `promote` and `status` list their names.",
)
@click.option("--withdraw", "withdrawing", is_flag=True, help="Take your approval of this receipt back.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON (approve.schema.json).")
@click.pass_obj
def command(
    config_file: str | None,
    *,
    receipt: str | None,
    remark: str,
    accept: tuple[str, ...],
    withdrawing: bool,
    as_json: bool,
) -> int:
    """Approve the receipt whose digest starts with RECEIPT, or the newest one, under your login and git identity.

    The approval names the receipt's digest: whatever changes in it, the files' bytes above all, leaves it without one.
    """
    from pgrehearse.project import Project
    from pgrehearse.releasing import Releasing

    releasing = Releasing(project=Project.open(config_file))
    if withdrawing:
        if accept:
            raise click.UsageError("--withdraw takes nothing to --accept")
        digest, left = releasing.withdraw(receipt, remark=remark)
        approvals: tuple[Approval, ...] = left
    else:
        approval = releasing.approve(receipt, accept=accept, remark=remark)
        digest, approvals = approval.receipt, releasing.approvals(approval.receipt)
    if as_json:
        answer = {
            "format": 1,
            "receipt": digest,
            "withdrawn": withdrawing,
            "approvals": [each.as_json() for each in approvals],
        }
        print(json.dumps(answer, ensure_ascii=False, indent=2))
        return 0
    print(f"{'withdrawn from' if withdrawing else 'approved'} receipt {digest[:12]}")
    for each in approvals:
        print(f"  {each.by}, {each.at.isoformat(timespec='seconds')}" + (f": {each.remark}" if each.remark else ""))
        for accepted in each.accepted:
            print(f"    accepts {accepted.finding}: {accepted.reason}")
    if not approvals:
        print("  nobody approves it now")
    for line in releasing.promotions_of(digest) if withdrawing else ():
        print(f"  {line}")
    for reason in () if withdrawing else releasing.not_accepted(digest):
        print(f"not enough to promote it: {reason.message}")
        for finding in reason.details:
            print(f"  {finding}")
        print(f"  -> {reason.remedy}")
    return 0
