//! Made by interop/kube-apiserver/schemas from Kubernetes' Go types; not edited by hand.

use crate::schema::{Field, ListMerge, Shape};

pub(crate) const AFFINITY: &[Field] = &[
    Field::pointer(1, "nodeAffinity", Shape::Object(NODE_AFFINITY)),
    Field::pointer(2, "podAffinity", Shape::Object(POD_AFFINITY)),
    Field::pointer(3, "podAntiAffinity", Shape::Object(POD_ANTI_AFFINITY)),
];

pub(crate) const APP_ARMOR_PROFILE: &[Field] = &[
    Field::always(1, "type", Shape::String),
    Field::pointer(2, "localhostProfile", Shape::String),
];

pub(crate) const AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "volumeID", Shape::String),
    Field::plain(2, "fsType", Shape::String),
    Field::plain(3, "partition", Shape::Int32),
    Field::plain(4, "readOnly", Shape::Bool),
];

pub(crate) const AZURE_DISK_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "diskName", Shape::String),
    Field::always(2, "diskURI", Shape::String),
    Field::pointer(3, "cachingMode", Shape::String),
    Field::pointer(4, "fsType", Shape::String),
    Field::pointer(5, "readOnly", Shape::Bool),
    Field::pointer(6, "kind", Shape::String),
];

pub(crate) const AZURE_FILE_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "secretName", Shape::String),
    Field::always(2, "shareName", Shape::String),
    Field::plain(3, "readOnly", Shape::Bool),
];

pub(crate) const CAPABILITIES: &[Field] = &[
    Field::plain(1, "add", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(2, "drop", Shape::List(&Shape::String, ListMerge::Replace)),
];

pub(crate) const CEPH_FS_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "monitors", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(2, "path", Shape::String),
    Field::plain(3, "user", Shape::String),
    Field::plain(4, "secretFile", Shape::String),
    Field::pointer(5, "secretRef", Shape::Whole(&Shape::Object(LOCAL_OBJECT_REFERENCE))),
    Field::plain(6, "readOnly", Shape::Bool),
];

pub(crate) const CINDER_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "volumeID", Shape::String),
    Field::plain(2, "fsType", Shape::String),
    Field::plain(3, "readOnly", Shape::Bool),
    Field::pointer(4, "secretRef", Shape::Whole(&Shape::Object(LOCAL_OBJECT_REFERENCE))),
];

pub(crate) const CLIENT_IP_CONFIG: &[Field] = &[
    Field::pointer(1, "timeoutSeconds", Shape::Int32),
];

pub(crate) const CLUSTER_TRUST_BUNDLE_PROJECTION: &[Field] = &[
    Field::pointer(1, "name", Shape::String),
    Field::pointer(2, "signerName", Shape::String),
    Field::pointer(3, "labelSelector", Shape::Whole(&Shape::Object(super::meta::LABEL_SELECTOR))),
    Field::pointer(5, "optional", Shape::Bool),
    Field::always(4, "path", Shape::String),
];

pub(crate) const CONFIG_MAP_ENV_SOURCE: &[Field] = &[
    Field::embedded(1, LOCAL_OBJECT_REFERENCE),
    Field::plain(0, "name", Shape::String),
    Field::pointer(2, "optional", Shape::Bool),
];

pub(crate) const CONFIG_MAP_KEY_SELECTOR: &[Field] = &[
    Field::embedded(1, LOCAL_OBJECT_REFERENCE),
    Field::plain(0, "name", Shape::String),
    Field::always(2, "key", Shape::String),
    Field::pointer(3, "optional", Shape::Bool),
];

pub(crate) const CONFIG_MAP_PROJECTION: &[Field] = &[
    Field::embedded(1, LOCAL_OBJECT_REFERENCE),
    Field::plain(0, "name", Shape::String),
    Field::plain(2, "items", Shape::List(&Shape::Object(KEY_TO_PATH), ListMerge::Replace)),
    Field::pointer(4, "optional", Shape::Bool),
];

pub(crate) const CONFIG_MAP_VOLUME_SOURCE: &[Field] = &[
    Field::embedded(1, LOCAL_OBJECT_REFERENCE),
    Field::plain(0, "name", Shape::String),
    Field::plain(2, "items", Shape::List(&Shape::Object(KEY_TO_PATH), ListMerge::Replace)),
    Field::pointer(3, "defaultMode", Shape::Int32),
    Field::pointer(4, "optional", Shape::Bool),
];

pub(crate) const CONTAINER: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::plain(2, "image", Shape::String),
    Field::plain(3, "command", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(4, "args", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(5, "workingDir", Shape::String),
    Field::plain(6, "ports", Shape::List(&Shape::Object(CONTAINER_PORT), ListMerge::Keys("containerPort", ("protocol", "TCP")))),
    Field::plain(19, "envFrom", Shape::List(&Shape::Object(ENV_FROM_SOURCE), ListMerge::Replace)),
    Field::plain(7, "env", Shape::List(&Shape::Object(ENV_VAR), ListMerge::Key("name"))),
    Field::always(8, "resources", Shape::Object(RESOURCE_REQUIREMENTS)),
    Field::plain(23, "resizePolicy", Shape::List(&Shape::Object(CONTAINER_RESIZE_POLICY), ListMerge::Replace)),
    Field::pointer(24, "restartPolicy", Shape::String),
    Field::plain(25, "restartPolicyRules", Shape::List(&Shape::Object(CONTAINER_RESTART_RULE), ListMerge::Replace)),
    Field::plain(9, "volumeMounts", Shape::List(&Shape::Object(VOLUME_MOUNT), ListMerge::Key("mountPath"))),
    Field::plain(21, "volumeDevices", Shape::List(&Shape::Object(VOLUME_DEVICE), ListMerge::Key("devicePath"))),
    Field::pointer(10, "livenessProbe", Shape::Object(PROBE)),
    Field::pointer(11, "readinessProbe", Shape::Object(PROBE)),
    Field::pointer(22, "startupProbe", Shape::Object(PROBE)),
    Field::pointer(12, "lifecycle", Shape::Object(LIFECYCLE)),
    Field::plain(13, "terminationMessagePath", Shape::String),
    Field::plain(20, "terminationMessagePolicy", Shape::String),
    Field::plain(14, "imagePullPolicy", Shape::String),
    Field::pointer(15, "securityContext", Shape::Object(SECURITY_CONTEXT)),
    Field::plain(16, "stdin", Shape::Bool),
    Field::plain(17, "stdinOnce", Shape::Bool),
    Field::plain(18, "tty", Shape::Bool),
];

pub(crate) const CONTAINER_EXTENDED_RESOURCE_REQUEST: &[Field] = &[
    Field::always(1, "containerName", Shape::String),
    Field::always(2, "resourceName", Shape::String),
    Field::always(3, "requestName", Shape::String),
];

pub(crate) const CONTAINER_PORT: &[Field] = &[
    Field::plain(1, "name", Shape::String),
    Field::plain(2, "hostPort", Shape::Int32),
    Field::always(3, "containerPort", Shape::Int32),
    Field::plain(4, "protocol", Shape::String),
    Field::plain(5, "hostIP", Shape::String),
];

pub(crate) const CONTAINER_RESIZE_POLICY: &[Field] = &[
    Field::always(1, "resourceName", Shape::String),
    Field::always(2, "restartPolicy", Shape::String),
];

pub(crate) const CONTAINER_RESTART_RULE: &[Field] = &[
    Field::plain(1, "action", Shape::String),
    Field::pointer(2, "exitCodes", Shape::Object(CONTAINER_RESTART_RULE_ON_EXIT_CODES)),
];

pub(crate) const CONTAINER_RESTART_RULE_ON_EXIT_CODES: &[Field] = &[
    Field::plain(1, "operator", Shape::String),
    Field::plain(2, "values", Shape::List(&Shape::Int32, ListMerge::Set)),
];

pub(crate) const CONTAINER_STATE: &[Field] = &[
    Field::pointer(1, "waiting", Shape::Object(CONTAINER_STATE_WAITING)),
    Field::pointer(2, "running", Shape::Object(CONTAINER_STATE_RUNNING)),
    Field::pointer(3, "terminated", Shape::Object(CONTAINER_STATE_TERMINATED)),
];

pub(crate) const CONTAINER_STATE_RUNNING: &[Field] = &[
    Field::always(1, "startedAt", Shape::Time),
];

pub(crate) const CONTAINER_STATE_TERMINATED: &[Field] = &[
    Field::always(1, "exitCode", Shape::Int32),
    Field::plain(2, "signal", Shape::Int32),
    Field::plain(3, "reason", Shape::String),
    Field::plain(4, "message", Shape::String),
    Field::always(5, "startedAt", Shape::Time),
    Field::always(6, "finishedAt", Shape::Time),
    Field::plain(7, "containerID", Shape::String),
];

pub(crate) const CONTAINER_STATE_WAITING: &[Field] = &[
    Field::plain(1, "reason", Shape::String),
    Field::plain(2, "message", Shape::String),
];

pub(crate) const CONTAINER_STATUS: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::always(2, "state", Shape::Object(CONTAINER_STATE)),
    Field::always(3, "lastState", Shape::Object(CONTAINER_STATE)),
    Field::always(4, "ready", Shape::Bool),
    Field::always(5, "restartCount", Shape::Int32),
    Field::always(6, "image", Shape::String),
    Field::always(7, "imageID", Shape::String),
    Field::plain(8, "containerID", Shape::String),
    Field::pointer(9, "started", Shape::Bool),
    Field::plain(10, "allocatedResources", Shape::Map(&Shape::Quantity)),
    Field::pointer(11, "resources", Shape::Object(RESOURCE_REQUIREMENTS)),
    Field::plain(12, "volumeMounts", Shape::List(&Shape::Object(VOLUME_MOUNT_STATUS), ListMerge::Key("mountPath"))),
    Field::pointer(13, "user", Shape::Object(CONTAINER_USER)),
    Field::plain(14, "allocatedResourcesStatus", Shape::List(&Shape::Object(RESOURCE_STATUS), ListMerge::Key("name"))),
    Field::pointer(15, "stopSignal", Shape::String),
];

pub(crate) const CONTAINER_USER: &[Field] = &[
    Field::pointer(1, "linux", Shape::Object(LINUX_CONTAINER_USER)),
];

pub(crate) const CSI_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "driver", Shape::String),
    Field::pointer(2, "readOnly", Shape::Bool),
    Field::pointer(3, "fsType", Shape::String),
    Field::plain(4, "volumeAttributes", Shape::Map(&Shape::String)),
    Field::pointer(5, "nodePublishSecretRef", Shape::Whole(&Shape::Object(LOCAL_OBJECT_REFERENCE))),
];

pub(crate) const DOWNWARD_API_PROJECTION: &[Field] = &[
    Field::plain(1, "items", Shape::List(&Shape::Object(DOWNWARD_API_VOLUME_FILE), ListMerge::Replace)),
];

pub(crate) const DOWNWARD_API_VOLUME_FILE: &[Field] = &[
    Field::always(1, "path", Shape::String),
    Field::pointer(2, "fieldRef", Shape::Whole(&Shape::Object(OBJECT_FIELD_SELECTOR))),
    Field::pointer(3, "resourceFieldRef", Shape::Whole(&Shape::Object(RESOURCE_FIELD_SELECTOR))),
    Field::pointer(4, "mode", Shape::Int32),
];

pub(crate) const DOWNWARD_API_VOLUME_SOURCE: &[Field] = &[
    Field::plain(1, "items", Shape::List(&Shape::Object(DOWNWARD_API_VOLUME_FILE), ListMerge::Replace)),
    Field::pointer(2, "defaultMode", Shape::Int32),
];

pub(crate) const EMPTY_DIR_VOLUME_SOURCE: &[Field] = &[
    Field::plain(1, "medium", Shape::String),
    Field::pointer(2, "sizeLimit", Shape::Quantity),
];

pub(crate) const ENV_FROM_SOURCE: &[Field] = &[
    Field::plain(1, "prefix", Shape::String),
    Field::pointer(2, "configMapRef", Shape::Object(CONFIG_MAP_ENV_SOURCE)),
    Field::pointer(3, "secretRef", Shape::Object(SECRET_ENV_SOURCE)),
];

pub(crate) const ENV_VAR: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::plain(2, "value", Shape::String),
    Field::pointer(3, "valueFrom", Shape::Object(ENV_VAR_SOURCE)),
];

pub(crate) const ENV_VAR_SOURCE: &[Field] = &[
    Field::pointer(1, "fieldRef", Shape::Whole(&Shape::Object(OBJECT_FIELD_SELECTOR))),
    Field::pointer(2, "resourceFieldRef", Shape::Whole(&Shape::Object(RESOURCE_FIELD_SELECTOR))),
    Field::pointer(3, "configMapKeyRef", Shape::Whole(&Shape::Object(CONFIG_MAP_KEY_SELECTOR))),
    Field::pointer(4, "secretKeyRef", Shape::Whole(&Shape::Object(SECRET_KEY_SELECTOR))),
    Field::pointer(5, "fileKeyRef", Shape::Whole(&Shape::Object(FILE_KEY_SELECTOR))),
];

pub(crate) const EPHEMERAL_CONTAINER: &[Field] = &[
    Field::embedded(1, EPHEMERAL_CONTAINER_COMMON),
    Field::always(0, "name", Shape::String),
    Field::plain(0, "image", Shape::String),
    Field::plain(0, "command", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(0, "args", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(0, "workingDir", Shape::String),
    Field::plain(0, "ports", Shape::List(&Shape::Object(CONTAINER_PORT), ListMerge::Key("containerPort"))),
    Field::plain(0, "envFrom", Shape::List(&Shape::Object(ENV_FROM_SOURCE), ListMerge::Replace)),
    Field::plain(0, "env", Shape::List(&Shape::Object(ENV_VAR), ListMerge::Key("name"))),
    Field::always(0, "resources", Shape::Object(RESOURCE_REQUIREMENTS)),
    Field::plain(0, "resizePolicy", Shape::List(&Shape::Object(CONTAINER_RESIZE_POLICY), ListMerge::Replace)),
    Field::pointer(0, "restartPolicy", Shape::String),
    Field::plain(0, "restartPolicyRules", Shape::List(&Shape::Object(CONTAINER_RESTART_RULE), ListMerge::Replace)),
    Field::plain(0, "volumeMounts", Shape::List(&Shape::Object(VOLUME_MOUNT), ListMerge::Key("mountPath"))),
    Field::plain(0, "volumeDevices", Shape::List(&Shape::Object(VOLUME_DEVICE), ListMerge::Key("devicePath"))),
    Field::pointer(0, "livenessProbe", Shape::Object(PROBE)),
    Field::pointer(0, "readinessProbe", Shape::Object(PROBE)),
    Field::pointer(0, "startupProbe", Shape::Object(PROBE)),
    Field::pointer(0, "lifecycle", Shape::Object(LIFECYCLE)),
    Field::plain(0, "terminationMessagePath", Shape::String),
    Field::plain(0, "terminationMessagePolicy", Shape::String),
    Field::plain(0, "imagePullPolicy", Shape::String),
    Field::pointer(0, "securityContext", Shape::Object(SECURITY_CONTEXT)),
    Field::plain(0, "stdin", Shape::Bool),
    Field::plain(0, "stdinOnce", Shape::Bool),
    Field::plain(0, "tty", Shape::Bool),
    Field::plain(2, "targetContainerName", Shape::String),
];

pub(crate) const EPHEMERAL_CONTAINER_COMMON: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::plain(2, "image", Shape::String),
    Field::plain(3, "command", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(4, "args", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(5, "workingDir", Shape::String),
    Field::plain(6, "ports", Shape::List(&Shape::Object(CONTAINER_PORT), ListMerge::Key("containerPort"))),
    Field::plain(19, "envFrom", Shape::List(&Shape::Object(ENV_FROM_SOURCE), ListMerge::Replace)),
    Field::plain(7, "env", Shape::List(&Shape::Object(ENV_VAR), ListMerge::Key("name"))),
    Field::always(8, "resources", Shape::Object(RESOURCE_REQUIREMENTS)),
    Field::plain(23, "resizePolicy", Shape::List(&Shape::Object(CONTAINER_RESIZE_POLICY), ListMerge::Replace)),
    Field::pointer(24, "restartPolicy", Shape::String),
    Field::plain(25, "restartPolicyRules", Shape::List(&Shape::Object(CONTAINER_RESTART_RULE), ListMerge::Replace)),
    Field::plain(9, "volumeMounts", Shape::List(&Shape::Object(VOLUME_MOUNT), ListMerge::Key("mountPath"))),
    Field::plain(21, "volumeDevices", Shape::List(&Shape::Object(VOLUME_DEVICE), ListMerge::Key("devicePath"))),
    Field::pointer(10, "livenessProbe", Shape::Object(PROBE)),
    Field::pointer(11, "readinessProbe", Shape::Object(PROBE)),
    Field::pointer(22, "startupProbe", Shape::Object(PROBE)),
    Field::pointer(12, "lifecycle", Shape::Object(LIFECYCLE)),
    Field::plain(13, "terminationMessagePath", Shape::String),
    Field::plain(20, "terminationMessagePolicy", Shape::String),
    Field::plain(14, "imagePullPolicy", Shape::String),
    Field::pointer(15, "securityContext", Shape::Object(SECURITY_CONTEXT)),
    Field::plain(16, "stdin", Shape::Bool),
    Field::plain(17, "stdinOnce", Shape::Bool),
    Field::plain(18, "tty", Shape::Bool),
];

pub(crate) const EPHEMERAL_VOLUME_SOURCE: &[Field] = &[
    Field::pointer(1, "volumeClaimTemplate", Shape::Object(PERSISTENT_VOLUME_CLAIM_TEMPLATE)),
];

pub(crate) const EXEC_ACTION: &[Field] = &[
    Field::plain(1, "command", Shape::List(&Shape::String, ListMerge::Replace)),
];

pub(crate) const FC_VOLUME_SOURCE: &[Field] = &[
    Field::plain(1, "targetWWNs", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::pointer(2, "lun", Shape::Int32),
    Field::plain(3, "fsType", Shape::String),
    Field::plain(4, "readOnly", Shape::Bool),
    Field::plain(5, "wwids", Shape::List(&Shape::String, ListMerge::Replace)),
];

pub(crate) const FILE_KEY_SELECTOR: &[Field] = &[
    Field::always(1, "volumeName", Shape::String),
    Field::always(2, "path", Shape::String),
    Field::always(3, "key", Shape::String),
    Field::pointer(4, "optional", Shape::Bool),
];

pub(crate) const FLEX_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "driver", Shape::String),
    Field::plain(2, "fsType", Shape::String),
    Field::pointer(3, "secretRef", Shape::Whole(&Shape::Object(LOCAL_OBJECT_REFERENCE))),
    Field::plain(4, "readOnly", Shape::Bool),
    Field::plain(5, "options", Shape::Map(&Shape::String)),
];

pub(crate) const FLOCKER_VOLUME_SOURCE: &[Field] = &[
    Field::plain(1, "datasetName", Shape::String),
    Field::plain(2, "datasetUUID", Shape::String),
];

pub(crate) const GCE_PERSISTENT_DISK_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "pdName", Shape::String),
    Field::plain(2, "fsType", Shape::String),
    Field::plain(3, "partition", Shape::Int32),
    Field::plain(4, "readOnly", Shape::Bool),
];

pub(crate) const GIT_REPO_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "repository", Shape::String),
    Field::plain(2, "revision", Shape::String),
    Field::plain(3, "directory", Shape::String),
];

pub(crate) const GLUSTERFS_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "endpoints", Shape::String),
    Field::always(2, "path", Shape::String),
    Field::plain(3, "readOnly", Shape::Bool),
];

pub(crate) const GRPC_ACTION: &[Field] = &[
    Field::always(1, "port", Shape::Int32),
    Field::pointer(2, "service", Shape::String),
];

pub(crate) const HOST_ALIAS: &[Field] = &[
    Field::always(1, "ip", Shape::String),
    Field::plain(2, "hostnames", Shape::List(&Shape::String, ListMerge::Replace)),
];

pub(crate) const HOST_IP: &[Field] = &[
    Field::always(1, "ip", Shape::String),
];

pub(crate) const HOST_PATH_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "path", Shape::String),
    Field::pointer(2, "type", Shape::String),
];

pub(crate) const HTTP_GET_ACTION: &[Field] = &[
    Field::plain(1, "path", Shape::String),
    Field::always(2, "port", Shape::IntOrString),
    Field::plain(3, "host", Shape::String),
    Field::plain(4, "scheme", Shape::String),
    Field::plain(5, "httpHeaders", Shape::List(&Shape::Object(HTTP_HEADER), ListMerge::Replace)),
];

pub(crate) const HTTP_HEADER: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::always(2, "value", Shape::String),
];

pub(crate) const IMAGE_VOLUME_SOURCE: &[Field] = &[
    Field::plain(1, "reference", Shape::String),
    Field::plain(2, "pullPolicy", Shape::String),
];

pub(crate) const IMAGE_VOLUME_STATUS: &[Field] = &[
    Field::plain(1, "imageRef", Shape::String),
];

pub(crate) const ISCSI_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "targetPortal", Shape::String),
    Field::always(2, "iqn", Shape::String),
    Field::always(3, "lun", Shape::Int32),
    Field::plain(4, "iscsiInterface", Shape::String),
    Field::plain(5, "fsType", Shape::String),
    Field::plain(6, "readOnly", Shape::Bool),
    Field::plain(7, "portals", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(8, "chapAuthDiscovery", Shape::Bool),
    Field::plain(11, "chapAuthSession", Shape::Bool),
    Field::pointer(10, "secretRef", Shape::Whole(&Shape::Object(LOCAL_OBJECT_REFERENCE))),
    Field::pointer(12, "initiatorName", Shape::String),
];

pub(crate) const KEY_TO_PATH: &[Field] = &[
    Field::always(1, "key", Shape::String),
    Field::always(2, "path", Shape::String),
    Field::pointer(3, "mode", Shape::Int32),
];

pub(crate) const LIFECYCLE: &[Field] = &[
    Field::pointer(1, "postStart", Shape::Object(LIFECYCLE_HANDLER)),
    Field::pointer(2, "preStop", Shape::Object(LIFECYCLE_HANDLER)),
    Field::pointer(3, "stopSignal", Shape::String),
];

pub(crate) const LIFECYCLE_HANDLER: &[Field] = &[
    Field::pointer(1, "exec", Shape::Object(EXEC_ACTION)),
    Field::pointer(2, "httpGet", Shape::Object(HTTP_GET_ACTION)),
    Field::pointer(3, "tcpSocket", Shape::Object(TCP_SOCKET_ACTION)),
    Field::pointer(4, "sleep", Shape::Object(SLEEP_ACTION)),
];

pub(crate) const LINUX_CONTAINER_USER: &[Field] = &[
    Field::always(1, "uid", Shape::Int64),
    Field::always(2, "gid", Shape::Int64),
    Field::plain(3, "supplementalGroups", Shape::List(&Shape::Int64, ListMerge::Replace)),
];

pub(crate) const LOAD_BALANCER_INGRESS: &[Field] = &[
    Field::plain(1, "ip", Shape::String),
    Field::plain(2, "hostname", Shape::String),
    Field::pointer(3, "ipMode", Shape::String),
    Field::plain(4, "ports", Shape::List(&Shape::Object(PORT_STATUS), ListMerge::Replace)),
];

pub(crate) const LOAD_BALANCER_STATUS: &[Field] = &[
    Field::plain(1, "ingress", Shape::List(&Shape::Object(LOAD_BALANCER_INGRESS), ListMerge::Replace)),
];

pub(crate) const LOCAL_OBJECT_REFERENCE: &[Field] = &[
    Field::plain(1, "name", Shape::String),
];

pub(crate) const NFS_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "server", Shape::String),
    Field::always(2, "path", Shape::String),
    Field::plain(3, "readOnly", Shape::Bool),
];

pub(crate) const NODE_AFFINITY: &[Field] = &[
    Field::pointer(1, "requiredDuringSchedulingIgnoredDuringExecution", Shape::Whole(&Shape::Object(NODE_SELECTOR))),
    Field::plain(2, "preferredDuringSchedulingIgnoredDuringExecution", Shape::List(&Shape::Object(PREFERRED_SCHEDULING_TERM), ListMerge::Replace)),
];

pub(crate) const NODE_ALLOCATABLE_RESOURCE_CLAIM_STATUS: &[Field] = &[
    Field::always(1, "resourceClaimName", Shape::String),
    Field::plain(2, "containers", Shape::List(&Shape::String, ListMerge::Set)),
    Field::always(3, "resources", Shape::Map(&Shape::Quantity)),
];

pub(crate) const NODE_SELECTOR: &[Field] = &[
    Field::always(1, "nodeSelectorTerms", Shape::List(&Shape::Whole(&Shape::Object(NODE_SELECTOR_TERM)), ListMerge::Replace)),
];

pub(crate) const NODE_SELECTOR_REQUIREMENT: &[Field] = &[
    Field::always(1, "key", Shape::String),
    Field::always(2, "operator", Shape::String),
    Field::plain(3, "values", Shape::List(&Shape::String, ListMerge::Replace)),
];

pub(crate) const NODE_SELECTOR_TERM: &[Field] = &[
    Field::plain(1, "matchExpressions", Shape::List(&Shape::Object(NODE_SELECTOR_REQUIREMENT), ListMerge::Replace)),
    Field::plain(2, "matchFields", Shape::List(&Shape::Object(NODE_SELECTOR_REQUIREMENT), ListMerge::Replace)),
];

pub(crate) const OBJECT_FIELD_SELECTOR: &[Field] = &[
    Field::plain(1, "apiVersion", Shape::String),
    Field::always(2, "fieldPath", Shape::String),
];

pub(crate) const PERSISTENT_VOLUME_CLAIM_SPEC: &[Field] = &[
    Field::plain(1, "accessModes", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::pointer(4, "selector", Shape::Whole(&Shape::Object(super::meta::LABEL_SELECTOR))),
    Field::always(2, "resources", Shape::Object(VOLUME_RESOURCE_REQUIREMENTS)),
    Field::plain(3, "volumeName", Shape::String),
    Field::pointer(5, "storageClassName", Shape::String),
    Field::pointer(6, "volumeMode", Shape::String),
    Field::pointer(7, "dataSource", Shape::Whole(&Shape::Object(TYPED_LOCAL_OBJECT_REFERENCE))),
    Field::pointer(8, "dataSourceRef", Shape::Object(TYPED_OBJECT_REFERENCE)),
    Field::pointer(9, "volumeAttributesClassName", Shape::String),
];

pub(crate) const PERSISTENT_VOLUME_CLAIM_TEMPLATE: &[Field] = &[
    Field::always(1, "metadata", Shape::Object(crate::resources::OBJECT_META)),
    Field::always(2, "spec", Shape::Object(PERSISTENT_VOLUME_CLAIM_SPEC)),
];

pub(crate) const PERSISTENT_VOLUME_CLAIM_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "claimName", Shape::String),
    Field::plain(2, "readOnly", Shape::Bool),
];

pub(crate) const PHOTON_PERSISTENT_DISK_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "pdID", Shape::String),
    Field::plain(2, "fsType", Shape::String),
];

pub(crate) const POD_AFFINITY: &[Field] = &[
    Field::plain(1, "requiredDuringSchedulingIgnoredDuringExecution", Shape::List(&Shape::Object(POD_AFFINITY_TERM), ListMerge::Replace)),
    Field::plain(2, "preferredDuringSchedulingIgnoredDuringExecution", Shape::List(&Shape::Object(WEIGHTED_POD_AFFINITY_TERM), ListMerge::Replace)),
];

pub(crate) const POD_AFFINITY_TERM: &[Field] = &[
    Field::pointer(1, "labelSelector", Shape::Whole(&Shape::Object(super::meta::LABEL_SELECTOR))),
    Field::plain(2, "namespaces", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::always(3, "topologyKey", Shape::String),
    Field::pointer(4, "namespaceSelector", Shape::Whole(&Shape::Object(super::meta::LABEL_SELECTOR))),
    Field::plain(5, "matchLabelKeys", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(6, "mismatchLabelKeys", Shape::List(&Shape::String, ListMerge::Replace)),
];

pub(crate) const POD_ANTI_AFFINITY: &[Field] = &[
    Field::plain(1, "requiredDuringSchedulingIgnoredDuringExecution", Shape::List(&Shape::Object(POD_AFFINITY_TERM), ListMerge::Replace)),
    Field::plain(2, "preferredDuringSchedulingIgnoredDuringExecution", Shape::List(&Shape::Object(WEIGHTED_POD_AFFINITY_TERM), ListMerge::Replace)),
];

pub(crate) const POD_CERTIFICATE_PROJECTION: &[Field] = &[
    Field::plain(1, "signerName", Shape::String),
    Field::plain(2, "keyType", Shape::String),
    Field::pointer(3, "maxExpirationSeconds", Shape::Int32),
    Field::plain(4, "credentialBundlePath", Shape::String),
    Field::plain(5, "keyPath", Shape::String),
    Field::plain(6, "certificateChainPath", Shape::String),
    Field::plain(7, "userAnnotations", Shape::Map(&Shape::String)),
];

pub(crate) const POD_CONDITION: &[Field] = &[
    Field::always(1, "type", Shape::String),
    Field::plain(7, "observedGeneration", Shape::Int64),
    Field::always(2, "status", Shape::String),
    Field::always(3, "lastProbeTime", Shape::Time),
    Field::always(4, "lastTransitionTime", Shape::Time),
    Field::plain(5, "reason", Shape::String),
    Field::plain(6, "message", Shape::String),
];

pub(crate) const POD_DNS_CONFIG: &[Field] = &[
    Field::plain(1, "nameservers", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(2, "searches", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(3, "options", Shape::List(&Shape::Object(POD_DNS_CONFIG_OPTION), ListMerge::Replace)),
];

pub(crate) const POD_DNS_CONFIG_OPTION: &[Field] = &[
    Field::plain(1, "name", Shape::String),
    Field::pointer(2, "value", Shape::String),
];

pub(crate) const POD_EXTENDED_RESOURCE_CLAIM_STATUS: &[Field] = &[
    Field::always(1, "requestMappings", Shape::List(&Shape::Object(CONTAINER_EXTENDED_RESOURCE_REQUEST), ListMerge::Replace)),
    Field::always(2, "resourceClaimName", Shape::String),
];

pub(crate) const POD_IP: &[Field] = &[
    Field::always(1, "ip", Shape::String),
];

pub(crate) const POD_OS: &[Field] = &[
    Field::always(1, "name", Shape::String),
];

pub(crate) const POD_READINESS_GATE: &[Field] = &[
    Field::always(1, "conditionType", Shape::String),
];

pub(crate) const POD_RESOURCE_CLAIM: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::pointer(3, "resourceClaimName", Shape::String),
    Field::pointer(4, "resourceClaimTemplateName", Shape::String),
];

pub(crate) const POD_RESOURCE_CLAIM_STATUS: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::pointer(2, "resourceClaimName", Shape::String),
];

pub(crate) const POD_SCHEDULING_GATE: &[Field] = &[
    Field::always(1, "name", Shape::String),
];

pub(crate) const POD_SCHEDULING_GROUP: &[Field] = &[
    Field::pointer(1, "podGroupName", Shape::String),
];

pub(crate) const POD_SECURITY_CONTEXT: &[Field] = &[
    Field::pointer(1, "seLinuxOptions", Shape::Object(SE_LINUX_OPTIONS)),
    Field::pointer(8, "windowsOptions", Shape::Object(WINDOWS_SECURITY_CONTEXT_OPTIONS)),
    Field::pointer(2, "runAsUser", Shape::Int64),
    Field::pointer(6, "runAsGroup", Shape::Int64),
    Field::pointer(3, "runAsNonRoot", Shape::Bool),
    Field::plain(4, "supplementalGroups", Shape::List(&Shape::Int64, ListMerge::Replace)),
    Field::pointer(12, "supplementalGroupsPolicy", Shape::String),
    Field::pointer(5, "fsGroup", Shape::Int64),
    Field::plain(7, "sysctls", Shape::List(&Shape::Object(SYSCTL), ListMerge::Replace)),
    Field::pointer(9, "fsGroupChangePolicy", Shape::String),
    Field::pointer(10, "seccompProfile", Shape::Object(SECCOMP_PROFILE)),
    Field::pointer(11, "appArmorProfile", Shape::Object(APP_ARMOR_PROFILE)),
    Field::pointer(13, "seLinuxChangePolicy", Shape::String),
];

pub(crate) const POD_SPEC: &[Field] = &[
    Field::plain(1, "volumes", Shape::List(&Shape::Object(VOLUME), ListMerge::Key("name"))),
    Field::plain(20, "initContainers", Shape::List(&Shape::Object(CONTAINER), ListMerge::Key("name"))),
    Field::always(2, "containers", Shape::List(&Shape::Object(CONTAINER), ListMerge::Key("name"))),
    Field::plain(34, "ephemeralContainers", Shape::List(&Shape::Object(EPHEMERAL_CONTAINER), ListMerge::Key("name"))),
    Field::plain(3, "restartPolicy", Shape::String),
    Field::pointer(4, "terminationGracePeriodSeconds", Shape::Int64),
    Field::pointer(5, "activeDeadlineSeconds", Shape::Int64),
    Field::plain(6, "dnsPolicy", Shape::String),
    Field::plain(7, "nodeSelector", Shape::Whole(&Shape::Map(&Shape::String))),
    Field::plain(8, "serviceAccountName", Shape::String),
    Field::plain(9, "serviceAccount", Shape::String),
    Field::pointer(21, "automountServiceAccountToken", Shape::Bool),
    Field::plain(10, "nodeName", Shape::String),
    Field::plain(11, "hostNetwork", Shape::Bool),
    Field::plain(12, "hostPID", Shape::Bool),
    Field::plain(13, "hostIPC", Shape::Bool),
    Field::pointer(27, "shareProcessNamespace", Shape::Bool),
    Field::pointer(14, "securityContext", Shape::Object(POD_SECURITY_CONTEXT)),
    Field::plain(15, "imagePullSecrets", Shape::List(&Shape::Whole(&Shape::Object(LOCAL_OBJECT_REFERENCE)), ListMerge::Key("name"))),
    Field::plain(16, "hostname", Shape::String),
    Field::plain(17, "subdomain", Shape::String),
    Field::pointer(18, "affinity", Shape::Object(AFFINITY)),
    Field::plain(19, "schedulerName", Shape::String),
    Field::plain(22, "tolerations", Shape::List(&Shape::Object(TOLERATION), ListMerge::Replace)),
    Field::plain(23, "hostAliases", Shape::List(&Shape::Object(HOST_ALIAS), ListMerge::Key("ip"))),
    Field::plain(24, "priorityClassName", Shape::String),
    Field::pointer(25, "priority", Shape::Int32),
    Field::pointer(26, "dnsConfig", Shape::Object(POD_DNS_CONFIG)),
    Field::plain(28, "readinessGates", Shape::List(&Shape::Object(POD_READINESS_GATE), ListMerge::Replace)),
    Field::pointer(29, "runtimeClassName", Shape::String),
    Field::pointer(30, "enableServiceLinks", Shape::Bool),
    Field::pointer(31, "preemptionPolicy", Shape::String),
    Field::plain(32, "overhead", Shape::Map(&Shape::Quantity)),
    Field::plain(33, "topologySpreadConstraints", Shape::List(&Shape::Object(TOPOLOGY_SPREAD_CONSTRAINT), ListMerge::Keys("topologyKey", ("whenUnsatisfiable", "")))),
    Field::pointer(35, "setHostnameAsFQDN", Shape::Bool),
    Field::pointer(36, "os", Shape::Object(POD_OS)),
    Field::pointer(37, "hostUsers", Shape::Bool),
    Field::plain(38, "schedulingGates", Shape::List(&Shape::Object(POD_SCHEDULING_GATE), ListMerge::Key("name"))),
    Field::plain(39, "resourceClaims", Shape::List(&Shape::Object(POD_RESOURCE_CLAIM), ListMerge::Key("name"))),
    Field::pointer(40, "resources", Shape::Object(RESOURCE_REQUIREMENTS)),
    Field::pointer(41, "hostnameOverride", Shape::String),
    Field::pointer(43, "schedulingGroup", Shape::Object(POD_SCHEDULING_GROUP)),
];

pub(crate) const POD_STATUS: &[Field] = &[
    Field::plain(17, "observedGeneration", Shape::Int64),
    Field::plain(1, "phase", Shape::String),
    Field::plain(2, "conditions", Shape::List(&Shape::Object(POD_CONDITION), ListMerge::Key("type"))),
    Field::plain(3, "message", Shape::String),
    Field::plain(4, "reason", Shape::String),
    Field::plain(11, "nominatedNodeName", Shape::String),
    Field::plain(5, "hostIP", Shape::String),
    Field::plain(16, "hostIPs", Shape::Whole(&Shape::List(&Shape::Object(HOST_IP), ListMerge::Key("ip")))),
    Field::plain(6, "podIP", Shape::String),
    Field::plain(12, "podIPs", Shape::List(&Shape::Object(POD_IP), ListMerge::Key("ip"))),
    Field::pointer(7, "startTime", Shape::Time),
    Field::plain(10, "initContainerStatuses", Shape::List(&Shape::Object(CONTAINER_STATUS), ListMerge::Replace)),
    Field::plain(8, "containerStatuses", Shape::List(&Shape::Object(CONTAINER_STATUS), ListMerge::Replace)),
    Field::plain(9, "qosClass", Shape::String),
    Field::plain(13, "ephemeralContainerStatuses", Shape::List(&Shape::Object(CONTAINER_STATUS), ListMerge::Replace)),
    Field::plain(14, "resize", Shape::String),
    Field::plain(15, "resourceClaimStatuses", Shape::List(&Shape::Object(POD_RESOURCE_CLAIM_STATUS), ListMerge::Key("name"))),
    Field::pointer(18, "extendedResourceClaimStatus", Shape::Object(POD_EXTENDED_RESOURCE_CLAIM_STATUS)),
    Field::plain(19, "allocatedResources", Shape::Map(&Shape::Quantity)),
    Field::pointer(20, "resources", Shape::Object(RESOURCE_REQUIREMENTS)),
    Field::plain(21, "nodeAllocatableResourceClaimStatuses", Shape::List(&Shape::Object(NODE_ALLOCATABLE_RESOURCE_CLAIM_STATUS), ListMerge::Replace)),
];

pub(crate) const POD_TEMPLATE_SPEC: &[Field] = &[
    Field::always(1, "metadata", Shape::Object(crate::resources::OBJECT_META)),
    Field::always(2, "spec", Shape::Object(POD_SPEC)),
];

pub(crate) const PORTWORX_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "volumeID", Shape::String),
    Field::plain(2, "fsType", Shape::String),
    Field::plain(3, "readOnly", Shape::Bool),
];

pub(crate) const PORT_STATUS: &[Field] = &[
    Field::always(1, "port", Shape::Int32),
    Field::always(2, "protocol", Shape::String),
    Field::pointer(3, "error", Shape::String),
];

pub(crate) const PREFERRED_SCHEDULING_TERM: &[Field] = &[
    Field::always(1, "weight", Shape::Int32),
    Field::always(2, "preference", Shape::Whole(&Shape::Object(NODE_SELECTOR_TERM))),
];

pub(crate) const PROBE: &[Field] = &[
    Field::embedded(1, PROBE_HANDLER),
    Field::pointer(0, "exec", Shape::Object(EXEC_ACTION)),
    Field::pointer(0, "httpGet", Shape::Object(HTTP_GET_ACTION)),
    Field::pointer(0, "tcpSocket", Shape::Object(TCP_SOCKET_ACTION)),
    Field::pointer(0, "grpc", Shape::Object(GRPC_ACTION)),
    Field::plain(2, "initialDelaySeconds", Shape::Int32),
    Field::plain(3, "timeoutSeconds", Shape::Int32),
    Field::plain(4, "periodSeconds", Shape::Int32),
    Field::plain(5, "successThreshold", Shape::Int32),
    Field::plain(6, "failureThreshold", Shape::Int32),
    Field::pointer(7, "terminationGracePeriodSeconds", Shape::Int64),
];

pub(crate) const PROBE_HANDLER: &[Field] = &[
    Field::pointer(1, "exec", Shape::Object(EXEC_ACTION)),
    Field::pointer(2, "httpGet", Shape::Object(HTTP_GET_ACTION)),
    Field::pointer(3, "tcpSocket", Shape::Object(TCP_SOCKET_ACTION)),
    Field::pointer(4, "grpc", Shape::Object(GRPC_ACTION)),
];

pub(crate) const PROJECTED_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "sources", Shape::List(&Shape::Object(VOLUME_PROJECTION), ListMerge::Replace)),
    Field::pointer(2, "defaultMode", Shape::Int32),
];

pub(crate) const QUOBYTE_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "registry", Shape::String),
    Field::always(2, "volume", Shape::String),
    Field::plain(3, "readOnly", Shape::Bool),
    Field::plain(4, "user", Shape::String),
    Field::plain(5, "group", Shape::String),
    Field::plain(6, "tenant", Shape::String),
];

pub(crate) const RBD_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "monitors", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::always(2, "image", Shape::String),
    Field::plain(3, "fsType", Shape::String),
    Field::plain(4, "pool", Shape::String),
    Field::plain(5, "user", Shape::String),
    Field::plain(6, "keyring", Shape::String),
    Field::pointer(7, "secretRef", Shape::Whole(&Shape::Object(LOCAL_OBJECT_REFERENCE))),
    Field::plain(8, "readOnly", Shape::Bool),
];

pub(crate) const RESOURCE_CLAIM: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::plain(2, "request", Shape::String),
];

pub(crate) const RESOURCE_FIELD_SELECTOR: &[Field] = &[
    Field::plain(1, "containerName", Shape::String),
    Field::always(2, "resource", Shape::String),
    Field::always(3, "divisor", Shape::Quantity),
];

pub(crate) const RESOURCE_HEALTH: &[Field] = &[
    Field::always(1, "resourceID", Shape::String),
    Field::plain(2, "health", Shape::String),
    Field::pointer(6, "message", Shape::String),
];

pub(crate) const RESOURCE_REQUIREMENTS: &[Field] = &[
    Field::plain(1, "limits", Shape::Map(&Shape::Quantity)),
    Field::plain(2, "requests", Shape::Map(&Shape::Quantity)),
    Field::plain(3, "claims", Shape::List(&Shape::Object(RESOURCE_CLAIM), ListMerge::Key("name"))),
];

pub(crate) const RESOURCE_STATUS: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::plain(2, "resources", Shape::List(&Shape::Object(RESOURCE_HEALTH), ListMerge::Key("resourceID"))),
];

pub(crate) const SCALE_IO_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "gateway", Shape::String),
    Field::always(2, "system", Shape::String),
    Field::pointer(3, "secretRef", Shape::Whole(&Shape::Object(LOCAL_OBJECT_REFERENCE))),
    Field::plain(4, "sslEnabled", Shape::Bool),
    Field::plain(5, "protectionDomain", Shape::String),
    Field::plain(6, "storagePool", Shape::String),
    Field::plain(7, "storageMode", Shape::String),
    Field::plain(8, "volumeName", Shape::String),
    Field::plain(9, "fsType", Shape::String),
    Field::plain(10, "readOnly", Shape::Bool),
];

pub(crate) const SECCOMP_PROFILE: &[Field] = &[
    Field::always(1, "type", Shape::String),
    Field::pointer(2, "localhostProfile", Shape::String),
];

pub(crate) const SECRET_ENV_SOURCE: &[Field] = &[
    Field::embedded(1, LOCAL_OBJECT_REFERENCE),
    Field::plain(0, "name", Shape::String),
    Field::pointer(2, "optional", Shape::Bool),
];

pub(crate) const SECRET_KEY_SELECTOR: &[Field] = &[
    Field::embedded(1, LOCAL_OBJECT_REFERENCE),
    Field::plain(0, "name", Shape::String),
    Field::always(2, "key", Shape::String),
    Field::pointer(3, "optional", Shape::Bool),
];

pub(crate) const SECRET_PROJECTION: &[Field] = &[
    Field::embedded(1, LOCAL_OBJECT_REFERENCE),
    Field::plain(0, "name", Shape::String),
    Field::plain(2, "items", Shape::List(&Shape::Object(KEY_TO_PATH), ListMerge::Replace)),
    Field::pointer(4, "optional", Shape::Bool),
];

pub(crate) const SECRET_VOLUME_SOURCE: &[Field] = &[
    Field::plain(1, "secretName", Shape::String),
    Field::plain(2, "items", Shape::List(&Shape::Object(KEY_TO_PATH), ListMerge::Replace)),
    Field::pointer(3, "defaultMode", Shape::Int32),
    Field::pointer(4, "optional", Shape::Bool),
];

pub(crate) const SECURITY_CONTEXT: &[Field] = &[
    Field::pointer(1, "capabilities", Shape::Object(CAPABILITIES)),
    Field::pointer(2, "privileged", Shape::Bool),
    Field::pointer(3, "seLinuxOptions", Shape::Object(SE_LINUX_OPTIONS)),
    Field::pointer(10, "windowsOptions", Shape::Object(WINDOWS_SECURITY_CONTEXT_OPTIONS)),
    Field::pointer(4, "runAsUser", Shape::Int64),
    Field::pointer(8, "runAsGroup", Shape::Int64),
    Field::pointer(5, "runAsNonRoot", Shape::Bool),
    Field::pointer(6, "readOnlyRootFilesystem", Shape::Bool),
    Field::pointer(7, "allowPrivilegeEscalation", Shape::Bool),
    Field::pointer(9, "procMount", Shape::String),
    Field::pointer(11, "seccompProfile", Shape::Object(SECCOMP_PROFILE)),
    Field::pointer(12, "appArmorProfile", Shape::Object(APP_ARMOR_PROFILE)),
];

pub(crate) const SERVICE_ACCOUNT_TOKEN_PROJECTION: &[Field] = &[
    Field::plain(1, "audience", Shape::String),
    Field::pointer(2, "expirationSeconds", Shape::Int64),
    Field::always(3, "path", Shape::String),
];

pub(crate) const SERVICE_PORT: &[Field] = &[
    Field::plain(1, "name", Shape::String),
    Field::plain(2, "protocol", Shape::String),
    Field::pointer(6, "appProtocol", Shape::String),
    Field::always(3, "port", Shape::Int32),
    Field::always(4, "targetPort", Shape::IntOrString),
    Field::plain(5, "nodePort", Shape::Int32),
];

pub(crate) const SERVICE_SPEC: &[Field] = &[
    Field::plain(1, "ports", Shape::List(&Shape::Object(SERVICE_PORT), ListMerge::Keys("port", ("protocol", "TCP")))),
    Field::plain(2, "selector", Shape::Whole(&Shape::Map(&Shape::String))),
    Field::plain(3, "clusterIP", Shape::String),
    Field::plain(18, "clusterIPs", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(4, "type", Shape::String),
    Field::plain(5, "externalIPs", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(7, "sessionAffinity", Shape::String),
    Field::plain(8, "loadBalancerIP", Shape::String),
    Field::plain(9, "loadBalancerSourceRanges", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::plain(10, "externalName", Shape::String),
    Field::plain(11, "externalTrafficPolicy", Shape::String),
    Field::plain(12, "healthCheckNodePort", Shape::Int32),
    Field::plain(13, "publishNotReadyAddresses", Shape::Bool),
    Field::pointer(14, "sessionAffinityConfig", Shape::Object(SESSION_AFFINITY_CONFIG)),
    Field::plain(19, "ipFamilies", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::pointer(17, "ipFamilyPolicy", Shape::String),
    Field::pointer(20, "allocateLoadBalancerNodePorts", Shape::Bool),
    Field::pointer(21, "loadBalancerClass", Shape::String),
    Field::pointer(22, "internalTrafficPolicy", Shape::String),
    Field::pointer(23, "trafficDistribution", Shape::String),
];

pub(crate) const SERVICE_STATUS: &[Field] = &[
    Field::always(1, "loadBalancer", Shape::Object(LOAD_BALANCER_STATUS)),
    Field::plain(2, "conditions", Shape::List(&Shape::Object(super::meta::CONDITION), ListMerge::Key("type"))),
];

pub(crate) const SESSION_AFFINITY_CONFIG: &[Field] = &[
    Field::pointer(1, "clientIP", Shape::Object(CLIENT_IP_CONFIG)),
];

pub(crate) const SE_LINUX_OPTIONS: &[Field] = &[
    Field::plain(1, "user", Shape::String),
    Field::plain(2, "role", Shape::String),
    Field::plain(3, "type", Shape::String),
    Field::plain(4, "level", Shape::String),
];

pub(crate) const SLEEP_ACTION: &[Field] = &[
    Field::always(1, "seconds", Shape::Int64),
];

pub(crate) const STORAGE_OS_VOLUME_SOURCE: &[Field] = &[
    Field::plain(1, "volumeName", Shape::String),
    Field::plain(2, "volumeNamespace", Shape::String),
    Field::plain(3, "fsType", Shape::String),
    Field::plain(4, "readOnly", Shape::Bool),
    Field::pointer(5, "secretRef", Shape::Whole(&Shape::Object(LOCAL_OBJECT_REFERENCE))),
];

pub(crate) const SYSCTL: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::always(2, "value", Shape::String),
];

pub(crate) const TCP_SOCKET_ACTION: &[Field] = &[
    Field::always(1, "port", Shape::IntOrString),
    Field::plain(2, "host", Shape::String),
];

pub(crate) const TOLERATION: &[Field] = &[
    Field::plain(1, "key", Shape::String),
    Field::plain(2, "operator", Shape::String),
    Field::plain(3, "value", Shape::String),
    Field::plain(4, "effect", Shape::String),
    Field::pointer(5, "tolerationSeconds", Shape::Int64),
];

pub(crate) const TOPOLOGY_SPREAD_CONSTRAINT: &[Field] = &[
    Field::always(1, "maxSkew", Shape::Int32),
    Field::always(2, "topologyKey", Shape::String),
    Field::always(3, "whenUnsatisfiable", Shape::String),
    Field::pointer(4, "labelSelector", Shape::Whole(&Shape::Object(super::meta::LABEL_SELECTOR))),
    Field::pointer(5, "minDomains", Shape::Int32),
    Field::pointer(6, "nodeAffinityPolicy", Shape::String),
    Field::pointer(7, "nodeTaintsPolicy", Shape::String),
    Field::plain(8, "matchLabelKeys", Shape::List(&Shape::String, ListMerge::Replace)),
];

pub(crate) const TYPED_LOCAL_OBJECT_REFERENCE: &[Field] = &[
    Field::pointer(1, "apiGroup", Shape::String),
    Field::always(2, "kind", Shape::String),
    Field::always(3, "name", Shape::String),
];

pub(crate) const TYPED_OBJECT_REFERENCE: &[Field] = &[
    Field::pointer(1, "apiGroup", Shape::String),
    Field::always(2, "kind", Shape::String),
    Field::always(3, "name", Shape::String),
    Field::pointer(4, "namespace", Shape::String),
];

pub(crate) const VOLUME: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::embedded(2, VOLUME_SOURCE),
    Field::pointer(0, "hostPath", Shape::Object(HOST_PATH_VOLUME_SOURCE)),
    Field::pointer(0, "emptyDir", Shape::Object(EMPTY_DIR_VOLUME_SOURCE)),
    Field::pointer(0, "gcePersistentDisk", Shape::Object(GCE_PERSISTENT_DISK_VOLUME_SOURCE)),
    Field::pointer(0, "awsElasticBlockStore", Shape::Object(AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE)),
    Field::pointer(0, "gitRepo", Shape::Object(GIT_REPO_VOLUME_SOURCE)),
    Field::pointer(0, "secret", Shape::Object(SECRET_VOLUME_SOURCE)),
    Field::pointer(0, "nfs", Shape::Object(NFS_VOLUME_SOURCE)),
    Field::pointer(0, "iscsi", Shape::Object(ISCSI_VOLUME_SOURCE)),
    Field::pointer(0, "glusterfs", Shape::Object(GLUSTERFS_VOLUME_SOURCE)),
    Field::pointer(0, "persistentVolumeClaim", Shape::Object(PERSISTENT_VOLUME_CLAIM_VOLUME_SOURCE)),
    Field::pointer(0, "rbd", Shape::Object(RBD_VOLUME_SOURCE)),
    Field::pointer(0, "flexVolume", Shape::Object(FLEX_VOLUME_SOURCE)),
    Field::pointer(0, "cinder", Shape::Object(CINDER_VOLUME_SOURCE)),
    Field::pointer(0, "cephfs", Shape::Object(CEPH_FS_VOLUME_SOURCE)),
    Field::pointer(0, "flocker", Shape::Object(FLOCKER_VOLUME_SOURCE)),
    Field::pointer(0, "downwardAPI", Shape::Object(DOWNWARD_API_VOLUME_SOURCE)),
    Field::pointer(0, "fc", Shape::Object(FC_VOLUME_SOURCE)),
    Field::pointer(0, "azureFile", Shape::Object(AZURE_FILE_VOLUME_SOURCE)),
    Field::pointer(0, "configMap", Shape::Object(CONFIG_MAP_VOLUME_SOURCE)),
    Field::pointer(0, "vsphereVolume", Shape::Object(VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE)),
    Field::pointer(0, "quobyte", Shape::Object(QUOBYTE_VOLUME_SOURCE)),
    Field::pointer(0, "azureDisk", Shape::Object(AZURE_DISK_VOLUME_SOURCE)),
    Field::pointer(0, "photonPersistentDisk", Shape::Object(PHOTON_PERSISTENT_DISK_VOLUME_SOURCE)),
    Field::pointer(0, "projected", Shape::Object(PROJECTED_VOLUME_SOURCE)),
    Field::pointer(0, "portworxVolume", Shape::Object(PORTWORX_VOLUME_SOURCE)),
    Field::pointer(0, "scaleIO", Shape::Object(SCALE_IO_VOLUME_SOURCE)),
    Field::pointer(0, "storageos", Shape::Object(STORAGE_OS_VOLUME_SOURCE)),
    Field::pointer(0, "csi", Shape::Object(CSI_VOLUME_SOURCE)),
    Field::pointer(0, "ephemeral", Shape::Object(EPHEMERAL_VOLUME_SOURCE)),
    Field::pointer(0, "image", Shape::Object(IMAGE_VOLUME_SOURCE)),
];

pub(crate) const VOLUME_DEVICE: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::always(2, "devicePath", Shape::String),
];

pub(crate) const VOLUME_MOUNT: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::plain(2, "readOnly", Shape::Bool),
    Field::pointer(7, "recursiveReadOnly", Shape::String),
    Field::always(3, "mountPath", Shape::String),
    Field::plain(4, "subPath", Shape::String),
    Field::pointer(5, "mountPropagation", Shape::String),
    Field::plain(6, "subPathExpr", Shape::String),
];

pub(crate) const VOLUME_MOUNT_STATUS: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::always(2, "mountPath", Shape::String),
    Field::plain(3, "readOnly", Shape::Bool),
    Field::pointer(4, "recursiveReadOnly", Shape::String),
    Field::pointer(5, "volumeStatus", Shape::Object(VOLUME_STATUS)),
];

pub(crate) const VOLUME_PROJECTION: &[Field] = &[
    Field::pointer(1, "secret", Shape::Object(SECRET_PROJECTION)),
    Field::pointer(2, "downwardAPI", Shape::Object(DOWNWARD_API_PROJECTION)),
    Field::pointer(3, "configMap", Shape::Object(CONFIG_MAP_PROJECTION)),
    Field::pointer(4, "serviceAccountToken", Shape::Object(SERVICE_ACCOUNT_TOKEN_PROJECTION)),
    Field::pointer(5, "clusterTrustBundle", Shape::Object(CLUSTER_TRUST_BUNDLE_PROJECTION)),
    Field::pointer(6, "podCertificate", Shape::Object(POD_CERTIFICATE_PROJECTION)),
];

pub(crate) const VOLUME_RESOURCE_REQUIREMENTS: &[Field] = &[
    Field::plain(1, "limits", Shape::Map(&Shape::Quantity)),
    Field::plain(2, "requests", Shape::Map(&Shape::Quantity)),
];

pub(crate) const VOLUME_SOURCE: &[Field] = &[
    Field::pointer(1, "hostPath", Shape::Object(HOST_PATH_VOLUME_SOURCE)),
    Field::pointer(2, "emptyDir", Shape::Object(EMPTY_DIR_VOLUME_SOURCE)),
    Field::pointer(3, "gcePersistentDisk", Shape::Object(GCE_PERSISTENT_DISK_VOLUME_SOURCE)),
    Field::pointer(4, "awsElasticBlockStore", Shape::Object(AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE)),
    Field::pointer(5, "gitRepo", Shape::Object(GIT_REPO_VOLUME_SOURCE)),
    Field::pointer(6, "secret", Shape::Object(SECRET_VOLUME_SOURCE)),
    Field::pointer(7, "nfs", Shape::Object(NFS_VOLUME_SOURCE)),
    Field::pointer(8, "iscsi", Shape::Object(ISCSI_VOLUME_SOURCE)),
    Field::pointer(9, "glusterfs", Shape::Object(GLUSTERFS_VOLUME_SOURCE)),
    Field::pointer(10, "persistentVolumeClaim", Shape::Object(PERSISTENT_VOLUME_CLAIM_VOLUME_SOURCE)),
    Field::pointer(11, "rbd", Shape::Object(RBD_VOLUME_SOURCE)),
    Field::pointer(12, "flexVolume", Shape::Object(FLEX_VOLUME_SOURCE)),
    Field::pointer(13, "cinder", Shape::Object(CINDER_VOLUME_SOURCE)),
    Field::pointer(14, "cephfs", Shape::Object(CEPH_FS_VOLUME_SOURCE)),
    Field::pointer(15, "flocker", Shape::Object(FLOCKER_VOLUME_SOURCE)),
    Field::pointer(16, "downwardAPI", Shape::Object(DOWNWARD_API_VOLUME_SOURCE)),
    Field::pointer(17, "fc", Shape::Object(FC_VOLUME_SOURCE)),
    Field::pointer(18, "azureFile", Shape::Object(AZURE_FILE_VOLUME_SOURCE)),
    Field::pointer(19, "configMap", Shape::Object(CONFIG_MAP_VOLUME_SOURCE)),
    Field::pointer(20, "vsphereVolume", Shape::Object(VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE)),
    Field::pointer(21, "quobyte", Shape::Object(QUOBYTE_VOLUME_SOURCE)),
    Field::pointer(22, "azureDisk", Shape::Object(AZURE_DISK_VOLUME_SOURCE)),
    Field::pointer(23, "photonPersistentDisk", Shape::Object(PHOTON_PERSISTENT_DISK_VOLUME_SOURCE)),
    Field::pointer(26, "projected", Shape::Object(PROJECTED_VOLUME_SOURCE)),
    Field::pointer(24, "portworxVolume", Shape::Object(PORTWORX_VOLUME_SOURCE)),
    Field::pointer(25, "scaleIO", Shape::Object(SCALE_IO_VOLUME_SOURCE)),
    Field::pointer(27, "storageos", Shape::Object(STORAGE_OS_VOLUME_SOURCE)),
    Field::pointer(28, "csi", Shape::Object(CSI_VOLUME_SOURCE)),
    Field::pointer(29, "ephemeral", Shape::Object(EPHEMERAL_VOLUME_SOURCE)),
    Field::pointer(30, "image", Shape::Object(IMAGE_VOLUME_SOURCE)),
];

pub(crate) const VOLUME_STATUS: &[Field] = &[
    Field::pointer(1, "image", Shape::Object(IMAGE_VOLUME_STATUS)),
];

pub(crate) const VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE: &[Field] = &[
    Field::always(1, "volumePath", Shape::String),
    Field::plain(2, "fsType", Shape::String),
    Field::plain(3, "storagePolicyName", Shape::String),
    Field::plain(4, "storagePolicyID", Shape::String),
];

pub(crate) const WEIGHTED_POD_AFFINITY_TERM: &[Field] = &[
    Field::always(1, "weight", Shape::Int32),
    Field::always(2, "podAffinityTerm", Shape::Object(POD_AFFINITY_TERM)),
];

pub(crate) const WINDOWS_SECURITY_CONTEXT_OPTIONS: &[Field] = &[
    Field::pointer(1, "gmsaCredentialSpecName", Shape::String),
    Field::pointer(2, "gmsaCredentialSpec", Shape::String),
    Field::pointer(3, "runAsUserName", Shape::String),
    Field::pointer(4, "hostProcess", Shape::Bool),
];
