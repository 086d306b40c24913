// Writes the tables of fields of Kubernetes' Go types for incumbent-apiserver, one file for each API group.
//
//	cd interop/kube-apiserver && go run ./schemas ../../crates/incumbent-apiserver/src/resources/types
//
// Names, types, numbers and merge strategies stand in the tags of the Go structs. How server-side apply treats a list
// stands in the schema of client-go's apply configurations.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	flowcontrol "k8s.io/api/flowcontrol/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// What the table of kinds refers to; the types inside of them follow.
var roots = []any{
	core.PodSpec{}, core.PodStatus{}, core.ServiceSpec{}, core.ServiceStatus{},
	apps.DeploymentSpec{}, apps.DeploymentStatus{},
	flowcontrol.FlowSchemaSpec{}, flowcontrol.FlowSchemaStatus{},
	flowcontrol.PriorityLevelConfigurationSpec{}, flowcontrol.PriorityLevelConfigurationStatus{},
	networking.NetworkPolicySpec{},
	policy.PodDisruptionBudgetSpec{}, policy.PodDisruptionBudgetStatus{},
}

// A value without fields of its own.
var leaves = map[reflect.Type]string{
	reflect.TypeFor[meta.Time]():          "Shape::Time",
	reflect.TypeFor[meta.MicroTime]():     "Shape::MicroTime",
	reflect.TypeFor[resource.Quantity]():  "Shape::Quantity",
	reflect.TypeFor[intstr.IntOrString](): "Shape::IntOrString",
	reflect.TypeFor[[]byte]():             "Shape::Bytes",
	reflect.TypeFor[meta.ObjectMeta]():    "Shape::Object(crate::resources::OBJECT_META)",
}

var (
	rules schema.Schema
	// The tables, by module and by name.
	tables = map[string]map[string]string{}
)

func main() {
	rules = readRules()
	for _, root := range roots {
		table(reflect.TypeOf(root))
	}
	for module, structs := range tables {
		write(filepath.Join(os.Args[1], module+".rs"), structs)
	}
}

// The package is internal, its text is not.
func readRules() schema.Schema {
	pkg := "k8s.io/client-go/applyconfigurations/internal"
	folder, err := exec.Command("go", "list", "-f", "{{.Dir}}", pkg).Output()
	check(err)
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(folder)), "internal.go"))
	check(err)
	_, yaml, _ := strings.Cut(string(text), "typed.YAMLObject(`")
	yaml, _, _ = strings.Cut(yaml, "`)")
	parser, err := typed.NewParser(typed.YAMLObject(yaml))
	check(err)
	return parser.Schema
}

func write(file string, structs map[string]string) {
	names := make([]string, 0, len(structs))
	for name := range structs {
		names = append(names, name)
	}
	slices.Sort(names)
	text := "//! Made by interop/kube-apiserver/schemas from Kubernetes' Go types; not edited by hand.\n\n" +
		"use crate::schema::{Field, ListMerge, Shape};\n"
	for _, name := range names {
		text += "\n" + structs[name]
	}
	if !strings.Contains(text, "ListMerge::") {
		text = strings.Replace(text, "Field, ListMerge, Shape", "Field, Shape", 1)
	}
	check(os.WriteFile(file, []byte(text), 0o644))
}

// The name of a struct's table as seen from another module, after the table is made.
func table(of reflect.Type) string {
	module, name := module(of), constant(of.Name())
	if tables[module] == nil {
		tables[module] = map[string]string{}
	}
	if _, known := tables[module][name]; !known {
		tables[module][name] = ""
		lines := strings.ReplaceAll(fields(of, true), "super::"+module+"::", "")
		tables[module][name] = fmt.Sprintf("pub(crate) const %s: &[Field] = &[\n%s];\n", name, lines)
	}
	return "super::" + module + "::" + name
}

func module(of reflect.Type) string {
	parts := strings.Split(of.PkgPath(), "/")
	return parts[len(parts)-2]
}

// A struct inside of another one without a name is a message of its own in protobuf, but not in JSON.
func fields(of reflect.Type, isNumbered bool) string {
	var lines strings.Builder
	for field := range of.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		number := "0"
		if isNumbered {
			number = strings.Split(field.Tag.Get("protobuf")+",0", ",")[1]
		}
		if name == "" {
			if isNumbered {
				fmt.Fprintf(&lines, "    Field::embedded(%s, %s),\n", number, table(field.Type))
			}
			lines.WriteString(fields(field.Type, false))
			continue
		}
		fmt.Fprintf(&lines, "    Field::%s(%s, %q, %s),\n", presence(field.Type, options), number, name, shapeOf(of, field, name))
	}
	return lines.String()
}

func presence(of reflect.Type, options string) string {
	isOptional := strings.Contains(options, "omitempty")
	switch {
	case of.Kind() == reflect.Pointer:
		return "pointer"
	case strings.Contains(options, "omitzero"), isOptional && of.Kind() != reflect.Struct:
		return "plain"
	default:
		return "always"
	}
}

func shapeOf(owner reflect.Type, field reflect.StructField, name string) string {
	ref := ruleOf(owner, name)
	shape := shape(field.Type, field.Tag, ref)
	isWhole := ref.ElementRelationship != nil && *ref.ElementRelationship == schema.Atomic
	if atom, found := rules.Resolve(ref); found && atom.Scalar == nil {
		isMerged := strings.Contains(shape, "ListMerge::") && !strings.HasSuffix(shape, "ListMerge::Replace)")
		isWhole = isWhole || atom.Map != nil && atom.Map.ElementRelationship == schema.Atomic ||
			isMerged && atom.List != nil && atom.List.ElementRelationship == schema.Atomic
	}
	if isWhole && !strings.HasSuffix(shape, "ListMerge::Replace)") {
		return "Shape::Whole(&" + shape + ")"
	}
	return shape
}

func ruleOf(owner reflect.Type, name string) schema.TypeRef {
	named := "io.k8s." + strings.ReplaceAll(strings.TrimPrefix(owner.PkgPath(), "k8s.io/"), "/", ".") + "." + owner.Name()
	atom, found := rules.Resolve(schema.TypeRef{NamedType: &named})
	if found && atom.Map != nil {
		if field, found := atom.Map.FindField(name); found {
			return field.Type
		}
	}
	return schema.TypeRef{}
}

func shape(of reflect.Type, tag reflect.StructTag, ref schema.TypeRef) string {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if leaf, found := leaves[of]; found {
		return leaf
	}
	switch of.Kind() {
	case reflect.Bool:
		return "Shape::Bool"
	case reflect.Int32:
		return "Shape::Int32"
	case reflect.Int64:
		return "Shape::Int64"
	case reflect.String:
		return "Shape::String"
	case reflect.Map:
		return "Shape::Map(&" + shape(of.Elem(), "", schema.TypeRef{}) + ")"
	case reflect.Slice:
		item := shape(of.Elem(), "", schema.TypeRef{})
		if atom, _ := rules.Resolve(itemRef(ref)); atom.Map != nil && atom.Map.ElementRelationship == schema.Atomic {
			item = "Shape::Whole(&" + item + ")"
		}
		return "Shape::List(&" + item + ", ListMerge::" + merge(tag, ref) + ")"
	case reflect.Struct:
		return "Shape::Object(" + table(of) + ")"
	}
	panic(of.String())
}

func itemRef(ref schema.TypeRef) schema.TypeRef {
	if atom, found := rules.Resolve(ref); found && atom.List != nil {
		return atom.List.ElementType
	}
	return schema.TypeRef{}
}

// By which members entries are told apart: to a patch by one, to who applies by all.
func merge(tag reflect.StructTag, ref schema.TypeRef) string {
	var keys []string
	isSet := false
	if atom, found := rules.Resolve(ref); found && atom.List != nil {
		keys = atom.List.Keys
		isSet = atom.List.ElementRelationship == schema.Associative && len(keys) == 0
	}
	key := tag.Get("patchMergeKey")
	if key != "" {
		keys = slices.DeleteFunc(slices.Clone(keys), func(other string) bool { return other == key })
	} else if len(keys) > 0 {
		key, keys = keys[0], keys[1:]
	}
	switch {
	case isSet || key == "" && strings.Contains(tag.Get("patchStrategy"), "merge"):
		return "Set"
	case key == "":
		return "Replace"
	case len(keys) == 0:
		return fmt.Sprintf("Key(%q)", key)
	case keys[0] == "protocol":
		return fmt.Sprintf("Keys(%q, (%q, \"TCP\"))", key, keys[0])
	default:
		return fmt.Sprintf("Keys(%q, (%q, \"\"))", key, keys[0])
	}
}

var word = regexp.MustCompile(`([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])`)

func constant(name string) string {
	name = word.ReplaceAllString(name, "${1}${3}_${2}${4}")
	return strings.ToUpper(name)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
