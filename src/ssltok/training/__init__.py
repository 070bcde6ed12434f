"""What is learned from views: objectives, which train an encoder alone or beside a tokenizer."""

from ssltok.training._objectives._barlow_twins import BarlowTwins
from ssltok.training._objectives._protocol import Objective, ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._vibcreg import VIbCReg
from ssltok.training._objectives._vicreg import VICReg

__all__ = ["BarlowTwins", "Objective", "ObjectiveBatch", "ObjectiveOutput", "VICReg", "VIbCReg"]
