"""Unlearning methods: ignite handlers that turn a MONAI `SupervisedTrainer` into an unlearning run."""

from mu_monai.methods.amnesiac import Amnesiac
from mu_monai.methods.bad_teacher import BadTeacher
from mu_monai.methods.boundary_expand import BoundaryExpand
from mu_monai.methods.boundary_shrink import BoundaryShrink
from mu_monai.methods.calibrated_erase_to_retain import CalibratedEraseToRetain
from mu_monai.methods.cf_k import CFk
from mu_monai.methods.composition import Composition
from mu_monai.methods.distance_regularization import DistanceRegularization
from mu_monai.methods.erase_to_retain import EraseToRetain
from mu_monai.methods.eu_k import EUk
from mu_monai.methods.gradient_ascent import GradientAscent
from mu_monai.methods.gradient_difference import GradientDifference
from mu_monai.methods.influence import InfluenceUnlearning
from mu_monai.methods.kernel_swap import KernelSwap
from mu_monai.methods.l1_sparse import L1Sparse
from mu_monai.methods.method import UnlearningMethod
from mu_monai.methods.msg import MSG
from mu_monai.methods.negation import Negation
from mu_monai.methods.npo import NPO
from mu_monai.methods.perturbed_sign_gradient import PerturbedSignGradient
from mu_monai.methods.random_labels import RandomLabels
from mu_monai.methods.retain_fine_tuning import RetainFineTuning
from mu_monai.methods.rewind import Rewind
from mu_monai.methods.rurk import RURK
from mu_monai.methods.salun import SalUn
from mu_monai.methods.scrub import Scrub
from mu_monai.methods.selective_synaptic_dampening import SelectiveSynapticDampening
from mu_monai.methods.shrink_and_restore import ShrinkAndRestore
from mu_monai.methods.undo import UNDO
from mu_monai.methods.unsir import UNSIR
from mu_monai.methods.weight_distortion import WeightDistortion

METHODS: dict[str, type[UnlearningMethod]] = {
    "erase-to-retain": EraseToRetain,
    "calibrated-erase-to-retain": CalibratedEraseToRetain,
    "shrink-and-restore": ShrinkAndRestore,
    "rewind": Rewind,
    "perturbed-sign-gradient": PerturbedSignGradient,
    "boundary-shrink": BoundaryShrink,
    "boundary-expand": BoundaryExpand,
    "retain-fine-tuning": RetainFineTuning,
    "gradient-ascent": GradientAscent,
    "gradient-difference": GradientDifference,
    "random-labels": RandomLabels,
    "amnesiac": Amnesiac,
    "npo": NPO,
    "l1-sparse": L1Sparse,
    "cf-k": CFk,
    "eu-k": EUk,
    "salun": SalUn,
    "scrub": Scrub,
    "bad-teacher": BadTeacher,
    "unsir": UNSIR,
    "selective-synaptic-dampening": SelectiveSynapticDampening,
    "influence": InfluenceUnlearning,
    "rurk": RURK,
    "undo": UNDO,
    "msg": MSG,
    "kernel-swap": KernelSwap,
    "negation": Negation,
    "weight-distortion": WeightDistortion,
    "distance-regularization": DistanceRegularization,
    "composition": Composition,
}

__all__ = [
    "METHODS",
    "MSG",
    "NPO",
    "RURK",
    "UNDO",
    "UNSIR",
    "Amnesiac",
    "BadTeacher",
    "BoundaryExpand",
    "BoundaryShrink",
    "CFk",
    "CalibratedEraseToRetain",
    "Composition",
    "DistanceRegularization",
    "EUk",
    "EraseToRetain",
    "GradientAscent",
    "GradientDifference",
    "InfluenceUnlearning",
    "KernelSwap",
    "L1Sparse",
    "Negation",
    "PerturbedSignGradient",
    "RandomLabels",
    "RetainFineTuning",
    "Rewind",
    "SalUn",
    "Scrub",
    "SelectiveSynapticDampening",
    "ShrinkAndRestore",
    "UnlearningMethod",
    "WeightDistortion",
]
