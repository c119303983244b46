"""A small glossary of chest radiography in the project's own words: text-only instruction rows."""

from __future__ import annotations

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("atelectasis", "Atelectasis is loss of volume of part of a lung because its air is gone."),
    ("consolidation", "Consolidation is lung whose air spaces are filled, so that it looks white."),
    ("pneumothorax", "A pneumothorax is air between lung and chest wall, where no air belongs."),
    ("pleural effusion", "A pleural effusion is fluid that gathers around the lung."),
    ("cardiomegaly", "Cardiomegaly is a heart wider than half of the chest on a frontal film."),
    ("pulmonary edema", "Pulmonary edema is fluid that leaks into the tissue of both lungs."),
    ("mediastinum", "The mediastinum is the space between the lungs with heart and great vessels."),
    ("costophrenic angle", "The costophrenic angle is the corner of diaphragm and chest wall."),
    ("hilum", "The hilum is the root of a lung, where bronchi and vessels enter."),
    ("granuloma", "A granuloma is a small scar, often calcified, left by an old infection."),
    ("nodule", "A nodule is a rounded opacity in the lung of up to three centimetres."),
    ("mass", "A mass is a rounded opacity in the lung of more than three centimetres."),
    ("opacity", "An opacity is an area that looks whiter than the tissue around it."),
    ("infiltrate", "Infiltrate is an old word for an ill-defined opacity within the lung."),
    ("scoliosis", "Scoliosis is a sideways curve of the spine."),
    ("hyperinflation", "Hyperinflation is lungs that hold too much air and flatten the diaphragm."),
    ("pneumonia", "Pneumonia is an infection that fills part of a lung."),
    ("PA view", "In a PA view the beam enters the back and the film stands before the chest."),
    ("AP view", "In an AP view the beam enters the front, and the heart looks larger than it is."),
    ("lateral view", "A lateral view is a film taken from the side."),
    ("endotracheal tube", "An endotracheal tube is a breathing tube that ends above the carina."),
    ("central line", "A central line is a catheter whose tip lies in a large vein near the heart."),
    ("pacemaker", "A pacemaker is a device under the skin with leads that run to the heart."),
    ("carina", "The carina is the ridge where the windpipe divides into two main bronchi."),
    (
        "silhouette sign",
        "The silhouette sign is a border that vanishes when its neighbour is dense.",
    ),
    ("draft report", "A draft report is a text that no radiologist has read and signed yet."),
)
