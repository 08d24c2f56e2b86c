"""The edge: the only layer that imports ``monailabel``. HTTP in, typed values down, answers up.

==================  ===========================================================================
`requests`          what a client sent -> one frozen `ClickRequest`, or an error with a sentence
`slice_prompt`      voxels of the volume -> slice and pixels (the only change of convention)
`models`            one small TOML file per served model, choice of the network behind it
`served_model`      weights and network, loaded on first use, shared by all requests; follows the
                    registry of trained versions
`live_model`        one version of it, ready to answer
`volumes`           image files -> volumes, cached; DICOM facts for images from a PACS
`infer`             MONAI Label's InferTask: one click in, one label map out
`infer_endpoint`    what ``POST /infer/{model}`` does between the HTTP form and the app
`dispatch`          image id -> file, task, saved label: MONAI Label's ``infer`` done carefully
`datastore`         DICOMweb images: fresh lists, no SEG among them, complete downloads
`dicom_proxy`       OHIF's way to the PACS
`sessions`          uploads of one user; an id that is no UUID is no session
`roles`             all addresses of the server, and who may use them
`guard`             asks for each request who sends it; `doorman` knows keys and tokens, `api_keys`
                    keeps them, `sign_in` is where people show them, `protect` puts all in place
`limits`            how large a request may be, and how many wait
`host_routes`       other functions behind the host's routes: `datastore_endpoints`,
                    `session_endpoints`, `task_endpoints`, `other_endpoints`
`watch`, `audit`    figures and health; who did what
`error_answers`     every error becomes a status and a sentence; the stack stays in the log
`host`              the settings and patches MONAI Label 0.8.5 needs, each with its reason
==================  ===========================================================================
"""
