package environment

import "strings"

// Variables are the variables of a process, in the order in which they were first set.
type Variables struct {
	names  []string
	values map[string]string
}

// Set adds a variable or changes its value.
func (v *Variables) Set(name, value string) {
	if v.values == nil {
		v.values = map[string]string{}
	}
	if _, ok := v.values[name]; !ok {
		v.names = append(v.names, name)
	}
	v.values[name] = value
}

// Get returns a variable's value, or nothing if there is no such variable.
func (v *Variables) Get(name string) string { return v.values[name] }

// List returns the variables as NAME=value, as a process gets them.
func (v *Variables) List() []string {
	list := make([]string, 0, len(v.names))
	for _, name := range v.names {
		list = append(list, name+"="+v.values[name])
	}
	return list
}

// Expand puts values in the place of $(NAME). A name that stands for no variable is left as it is; $$ becomes $, so that
// $$(NAME) becomes $(NAME).
func (v *Variables) Expand(text string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		end := strings.IndexByte(after, ')')
		switch {
		case strings.HasPrefix(after, "$"):
			out.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "(") && end > 0:
			out.WriteString(v.reference(after[1:end]))
			text = after[end+1:]
		default:
			out.WriteByte('$')
			text = after
		}
	}
}

func (v *Variables) reference(name string) string {
	if value, ok := v.values[name]; ok {
		return value
	}
	return "$(" + name + ")"
}
