"""Words that are somebody's name and also a term of radiology, and the fields where they may stand as such.

A patient called Head must not make every head CT fail; a patient called Head whose name stands in a comment must. Hence
both are asked: the word, and the place. Each such pardon is told in the report.
"""

from __future__ import annotations

__all__ = ["CODED", "GENERIC", "NEUTRAL", "PARTICLES", "TERMS", "TITLES"]

_TERMS = """
abdomen abdominal adult aera agfa ankle aorta apex arm arterial artis axial back bone brain breast bruker canon
carestream
cardiac carotid chest child contrast coronal cervical clear cook cross delay dixon dual elbow elscint esaote face fat
female field finger flair flash foot force fuji fujifilm ge general hand head healthineers heart hip hitachi hologic
image inner intra jaw joint kidney kodak knee konica large leg light liver long lumbar lung mammo male mean medical
medtronic mobile neck nose original optima orbit pelvis phase philips phantom picker pilot plain portal prone quick
ray recon revolution right left rib samsung sagittal scan scout sense sharp shimadzu short shoulder siemens skull skyra
small soft spine standard static stone supine thigh thin thorax toe tooth top toshiba trio true uih upper lower varian
vein venous verio vida vision whole water white wrist xray young
ct mr pt us xa rf cr dx mg nm ot sr rt sc seg io px rg bi es op
basic application confidentiality profile option retain modified dates characteristics safe private device identity
institution descriptors graphics structured content pixel data uids full information longitudinal temporal
other unknown none yes no primary secondary derived localizer head first feet
"""
TERMS = frozenset(_TERMS.split())

# Places for codes and for what a maker calls its things; by keyword, besides every CS.
_CODED_WORDS = """
    AcquisitionContrast AnatomicRegionSequence BodyPartExamined CodeMeaning CodeValue CodingSchemeDesignator
    CodingSchemeName ContrastBolusAgent ConvolutionKernel FilterType Manufacturer ManufacturerModelName Modality
    ReceiveCoilName SequenceName TransmitCoilName SoftwareVersions DeidentificationMethod
"""
CODED = frozenset(_CODED_WORDS.split())

# Words of places that name none.
_GENERIC_WORDS = """
    and at the of for von und der die das de la le les du des di del da e y et i in zu zum zur am an im hospital
    hospitals clinic clinics klinik klinikum krankenhaus spital hopital ospedale hospitalier hospitalario
    university universitat universite universita universidad universitats center centre centro zentrum medical
    medizin medicine health care healthcare institute institut department dept radiology radiologie radiologia
    imaging diagnostic diagnostics general regional national saint street road avenue strasse str st city building
    here name floor room north south east west research group praxis institution foundation trust school college
"""
GENERIC = frozenset(_GENERIC_WORDS.split())

# Words that stand where nothing is said: an original with nothing but these has nothing to hide.
_NEUTRAL_WORDS = """
    anonymous anonymized anonymised anonymize anonymisiert anon unknown none null removed deidentified dummy pseudonym
    empty void na
"""
NEUTRAL = frozenset(_NEUTRAL_WORDS.split())

# What stands beside names: nobody is called so alone. Le is a name of many; as one of several words it is none.
_TITLES_WORDS = "dr prof md phd mr mrs ms jr sr herr frau dipl med msc bsc rt patient phantom test operator physician"
TITLES = frozenset(_TITLES_WORDS.split()) | NEUTRAL
_PARTICLES_WORDS = "von van vom zu zum zur der den de di del della da dos das du la le el al bin ibn ter ten y e i"
PARTICLES = frozenset(_PARTICLES_WORDS.split())
