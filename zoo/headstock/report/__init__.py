"""What a run's report says beyond its metrics: did transfer help, for whom, how sure is it, what did it cost."""

from headstock.report.assessment import Assessment, Depth, assess
from headstock.report.gate import check_promotion

__all__ = ["Assessment", "Depth", "assess", "check_promotion"]
